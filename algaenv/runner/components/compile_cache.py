"""The directory of compiled components, which only the service's own user may write to.

Loading a compiled component runs native code, exactly as importing a module does. A directory or
file that another user owns or can write to is refused, never repaired.

A file is moved into place complete and never written to there: processes have it mapped. Its
modification time is its time of last use.
Evicting a file that another process has loaded costs that process nothing.

    compiled/<wasm>.<engine>.cwasm    native code of a component, for one kind of engine and tier
    compiled/bundles/<bundle>         the digest of a bundle's component, so that it is found
                                      without being read
    compiled/bundles/<wasm>.limit     the limits at which its compiling was ended
    compiled/current/<extension>      the component that an extension was warmed up with last
    compiled/bundles/<wasm>.replaced  another one has taken the place of this
    compiled/tmp/…  locks/…  queue/…  compiling under way
    compiled/background/…             the queue of what no caller waits for
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.eviction import LEFTOVER_SECONDS, CacheEntry, entries_of, remove_older
from algaenv.runner.wasm.engine_config import CompileTier, tier_fingerprint
from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from algaenv.system.files import write_atomic

SUFFIX = ".cwasm"
_LIMIT = ".limit"
_REPLACED = ".replaced"
GRACE_SECONDS = 30.0
"""What was used this recently is not evicted: some process is about to load it."""
FOREIGN_SECONDS = 7 * 86_400.0
"""How long the files of another version or setting of the engine wait to be used again."""

_BLOCK = 1 << 20
_DIGEST = ".sha256"
_SHARED_MAX = 4
"""Files kept for all services: quick and optimised code of two versions, 200 MB."""

_NAME = re.compile(rf"[0-9a-f]{{64}}\.([0-9a-f]{{16}}){re.escape(SUFFIX)}")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MODE = 0o700


class CompileDirectory:
    """`<root>/.algaenv/compiled`, where `root` is the service's cache directory."""

    kind = "compiled component"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / ".algaenv" / "compiled"
        self.bundles = self.path / "bundles"
        self.temporary = self.path / "tmp"
        self.locks = self.path / "locks"
        self.queue = self.path / "queue"
        self.background = self.path / "background"
        self.current = self.path / "current"
        self._engines: dict[CompileTier, str] = {}

    def engine(self, tier: CompileTier) -> str:
        """What engines that can load each other's files have in common, and the tier, short."""
        if tier not in self._engines:
            name = hashlib.sha256(tier_fingerprint(tier).encode()).hexdigest()[:16]
            self._engines[tier] = name
        return self._engines[tier]

    def prepare(self) -> None:
        """Make what is missing. Raises GuestFailure(HOST), also for what others can write to."""
        with host_failures():
            self._root.mkdir(parents=True, exist_ok=True)
            for folder in (self.path.parent, self.path):
                folder.mkdir(mode=_MODE, exist_ok=True)
            self._check()
            inside = (self.bundles, self.temporary, self.locks, self.queue)
            for folder in (*inside, self.background, self.current):
                folder.mkdir(mode=_MODE, exist_ok=True)

    def path_of(self, wasm: Digest, tier: CompileTier = CompileTier.OPTIMISED) -> Path:
        """Where the compiled form of a component is, or would be."""
        return self.path / f"{wasm.hex}.{self.engine(tier)}{SUFFIX}"

    def best(self, wasm: Digest) -> Path | None:
        """The compiled form of a component, the optimised one if both are there.

        Raises GuestFailure(HOST) when it is not safe to load.
        """
        files = (self.path_of(wasm, tier) for tier in (CompileTier.OPTIMISED, CompileTier.QUICK))
        return next(filter(self.has, files), None)

    def has(self, file: Path) -> bool:
        """Whether a compiled form is there and safe to load.

        Raises GuestFailure(HOST) when it is there and not safe.
        """
        with host_failures():
            try:
                status = file.lstat()
            except FileNotFoundError:
                return False
            self._check()
            if not stat.S_ISREG(status.st_mode):
                raise GuestFailure(
                    FailureKind.HOST, f"cannot load {file.name}: it is not a plain file"
                )
            _require_private(file.name, status)
        return True

    def lock(self, wasm: Digest, tier: CompileTier) -> Path:
        """The file whose lock is held while a component is compiled."""
        part = "" if tier is CompileTier.OPTIMISED else f".{tier}"
        return self.locks / f"{wasm.hex[:3]}{part}.lock"

    def draft(self, wasm: Digest) -> Path:
        """A new directory to compile into. Raises OSError."""
        return Path(tempfile.mkdtemp(dir=self.temporary, prefix=f"{wasm.hex[:12]}."))

    def component_of(self, bundle: Digest) -> Digest | None:
        """The digest of a bundle's component, if it was noted."""
        with suppress(OSError, ValueError):
            return Digest((self.bundles / bundle.hex).read_text("ascii"))
        return None

    def note(self, bundle: Digest, wasm: Digest) -> None:
        """Keep the digest of a bundle's component; it is only a short cut, so nothing is raised."""
        with suppress(OSError):
            descriptor, draft = tempfile.mkstemp(dir=self.temporary)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(wasm.hex)
            Path(draft).rename(self.bundles / bundle.hex)

    def remove_note(self, bundle: Digest) -> None:
        """Drop the note about a bundle, which may have been wrong."""
        with suppress(OSError):
            (self.bundles / bundle.hex).unlink()

    def set_current(self, extension: str, wasm: Digest) -> None:
        """Note the component of an extension, and that it has taken the place of another.

        It only saves work, so nothing is raised.
        """
        note = self.current / hashlib.sha256(extension.encode()).hexdigest()
        with suppress(OSError):
            (self.bundles / f"{wasm.hex}{_REPLACED}").unlink(missing_ok=True)
            before = note.read_text("ascii") if note.exists() else ""
            if before == wasm.hex:
                return
            write_atomic(note, wasm.hex.encode())
            used = {other.read_text("ascii") for other in entries_of(self.current)}
            if before and before not in used:
                (self.bundles / f"{before}{_REPLACED}").touch(0o600)

    def is_replaced(self, wasm: Digest) -> bool:
        """Whether every extension that had the component has another one by now."""
        return (self.bundles / f"{wasm.hex}{_REPLACED}").exists()

    def limit_of(self, wasm: Digest, tier: CompileTier) -> tuple[tuple[float, ...], str] | None:
        """The limits at which compiling a component was ended last, and the message."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            recorded = json.loads(self._limit_note(wasm, tier).read_text("utf-8"))
            return tuple(float(value) for value in recorded["limits"]), str(recorded["message"])
        return None

    def note_limit(
        self, wasm: Digest, tier: CompileTier, limits: tuple[float, ...], message: str
    ) -> None:
        """Note, for every process that shares the directory, that these limits are too low."""
        with suppress(OSError):
            descriptor, draft = tempfile.mkstemp(dir=self.temporary)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"limits": limits, "message": message}, file)
            Path(draft).rename(self._limit_note(wasm, tier))

    def _limit_note(self, wasm: Digest, tier: CompileTier) -> Path:
        part = "" if tier is CompileTier.OPTIMISED else f".{tier}"
        return self.bundles / f"{wasm.hex}{part}{_LIMIT}"

    def entries(self) -> Iterator[CacheEntry]:
        """The compiled forms; those of other engines expire when they are unused for a week."""
        now = time.time()
        engines = {self.engine(tier) for tier in CompileTier}
        for file in entries_of(self.path):
            if named := _NAME.fullmatch(file.name):
                with suppress(OSError):
                    status = file.lstat()
                    foreign = named[1] not in engines
                    expired = foreign and now - status.st_mtime > FOREIGN_SECONDS
                    yield CacheEntry(status.st_mtime, file, status.st_size, expired)

    def delete(self, entry: CacheEntry) -> bool:
        """Delete a compiled form. Raises OSError."""
        entry.path.unlink(missing_ok=True)
        return True

    def log_fields(self, entry: CacheEntry) -> dict[str, object]:
        """Its name and size."""
        return {"file": entry.path.name, "bytes": entry.size}

    def sweep(self) -> None:
        """Delete leftovers of dead processes, and notes about bundles of long ago. Blocks."""
        remove_older(self.temporary, LEFTOVER_SECONDS)
        remove_older(self.bundles, FOREIGN_SECONDS)

    def _check(self) -> None:
        for folder in (self.path.parent, self.path):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode):
                raise GuestFailure(FailureKind.HOST, f"cannot use {folder}: it is not a directory")
            _require_private(str(folder), status)


class SharedCode:
    """Native code of one component, kept for all services of a user that are given `directory`.

    Beside each file lies the digest of its content. It is as private as the directory of a service:
    what others own or can write to is passed over, and so is what is damaged. Nothing here raises,
    for whatever cannot be read is compiled.
    """

    def __init__(self, directory: Path, component: Digest) -> None:
        self._directory = directory
        self._component = component

    def has_place_for(self, component: Digest) -> bool:
        """Whether it is this component that is kept."""
        return component == self._component

    def fetch(self, name: str, target: Path) -> bool:
        """Copy the file of this name; False when there is none that can be trusted. Blocks."""
        with suppress(OSError, ValueError, GuestFailure):
            self._require_private_directory()
            file, digest = self._paths(name)
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as source:
                _require_private(file.name, os.fstat(descriptor))
                copied = hashlib.sha256()
                target.touch(0o600, exist_ok=False)
                with target.open("wb") as copy:
                    while block := source.read(_BLOCK):
                        copied.update(block)
                        copy.write(block)
            if Digest(copied.hexdigest()) == Digest(digest.read_text("ascii")):
                os.utime(file)
                return True
            self.remove(name)
        target.unlink(missing_ok=True)
        return False

    def keep(self, compiled: Path) -> None:
        """Keep a copy, in place of what was used longest ago where there are many. Blocks."""
        with suppress(OSError, GuestFailure):
            self._directory.mkdir(mode=_MODE, parents=True, exist_ok=True)
            self._require_private_directory()
            file, digest = self._paths(compiled.name)
            content = compiled.read_bytes()
            # The digest last: a file without one is not used.
            write_atomic(file, content, fsync=True)
            write_atomic(digest, hashlib.sha256(content).hexdigest().encode(), fsync=True)
            old = sorted(self._directory.glob(f"*{SUFFIX}"), key=lambda it: -it.stat().st_mtime)
            for each in old[_SHARED_MAX:]:
                each.with_suffix(_DIGEST).unlink(missing_ok=True)
                each.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Delete what cannot be loaded. Blocks."""
        for path in self._paths(name):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _paths(self, name: str) -> tuple[Path, Path]:
        """The file and its digest. A home may be shared by machines with other processors."""
        stem = f"{name.removesuffix(SUFFIX)}@{_processor()}"
        return self._directory / f"{stem}{SUFFIX}", self._directory / f"{stem}{_DIGEST}"

    def _require_private_directory(self) -> None:
        status = self._directory.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise GuestFailure(
                FailureKind.HOST, f"cannot use {self._directory}: it is not a directory"
            )
        _require_private(str(self._directory), status)


@cache
def _processor() -> str:
    """What the processor can do, short: code for one may not run on another."""
    found = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        found += next((it for it in lines if it.startswith(("flags", "Features"))), "")
    return hashlib.sha256(found.encode()).hexdigest()[:16]


@contextmanager
def host_failures() -> Iterator[None]:
    """Say what is wrong with the directory in a way that callers see: GuestFailure(HOST)."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot keep compiled components: {reason}"
        raise GuestFailure(FailureKind.HOST, message) from error


def is_noexec(path: Path) -> bool:
    """Whether native code cannot be mapped from here."""
    try:
        return sys.platform == "linux" and bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    except OSError:
        return False


def _require_private(name: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise GuestFailure(
            FailureKind.HOST, f"cannot trust {name}: it belongs to user {status.st_uid}"
        )
    if status.st_mode & _OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise GuestFailure(
            FailureKind.HOST, f"cannot trust {name}: others can write to it ({mode:04o})"
        )
