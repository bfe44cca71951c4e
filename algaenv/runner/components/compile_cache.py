"""The directory of compiled components, which only the service's own user may write to.

Loading a compiled component runs native code, exactly as importing a module does. A directory or
file that another user owns or can write to is refused, never repaired.

A file is moved into place complete and never written to there: processes have it mapped. Its
modification time is its time of last use, which every process that shares the directory can read.
Evicting a file that another process has loaded costs that process nothing.

    compiled/<wasm>.<engine>.cwasm    native code of a component, for one kind of engine
    compiled/bundles/<bundle>         the digest of a bundle's component, so that it is found
                                      without being read
    compiled/bundles/<wasm>.limit     the limits at which its compiling was ended
    compiled/tmp/…  locks/…  queue/…  compiling under way
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.wasm.failure import GuestFailure, Kind

SUFFIX = ".cwasm"
_LIMIT = ".limit"
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MODE = 0o700


class CompileDirectory:
    """`<root>/.algaenv/compiled`, where `root` is the service's cache directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / ".algaenv" / "compiled"
        self.bundles = self.path / "bundles"
        self.temporary = self.path / "tmp"
        self.locks = self.path / "locks"
        self.queue = self.path / "queue"
        self._engine: str | None = None

    @property
    def engine(self) -> str:
        """What engines that can load each other's files have in common, short."""
        if self._engine is None:
            from algaenv.runner.wasm.engine_config import fingerprint

            self._engine = hashlib.sha256(fingerprint().encode()).hexdigest()[:16]
        return self._engine

    def prepare(self) -> None:
        """Make what is missing. Raises GuestFailure(HOST), also for what others can write to."""
        with host_failures():
            self._root.mkdir(parents=True, exist_ok=True)
            for folder in (self.path.parent, self.path):
                folder.mkdir(mode=_MODE, exist_ok=True)
            self._check()
            for folder in (self.bundles, self.temporary, self.locks, self.queue):
                folder.mkdir(mode=_MODE, exist_ok=True)

    def path_of(self, wasm: Digest) -> Path:
        """Where the compiled form of a component is, or would be."""
        return self.path / f"{wasm.hex}.{self.engine}{SUFFIX}"

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
                raise GuestFailure(Kind.HOST, f"cannot load {file.name}: it is not a plain file")
            _require_private(file.name, status)
        return True

    def lock(self, wasm: Digest) -> Path:
        """The file whose lock is held while a component is compiled."""
        return self.locks / f"{wasm.hex[:3]}.lock"

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

    def limit_of(self, wasm: Digest) -> tuple[tuple[float, ...], str] | None:
        """The limits at which compiling a component was ended last, and the message."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            recorded = json.loads((self.bundles / f"{wasm.hex}{_LIMIT}").read_text("utf-8"))
            return tuple(float(value) for value in recorded["limits"]), str(recorded["message"])
        return None

    def note_limit(self, wasm: Digest, limits: tuple[float, ...], message: str) -> None:
        """Note, for every process that shares the directory, that these limits are too low."""
        with suppress(OSError):
            descriptor, draft = tempfile.mkstemp(dir=self.temporary)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"limits": limits, "message": message}, file)
            Path(draft).rename(self.bundles / f"{wasm.hex}{_LIMIT}")

    def _check(self) -> None:
        for folder in (self.path.parent, self.path):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode):
                raise GuestFailure(Kind.HOST, f"cannot use {folder}: it is not a directory")
            _require_private(str(folder), status)


@contextmanager
def host_failures() -> Iterator[None]:
    """Say what is wrong with the directory in a way that callers see: GuestFailure(HOST)."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot keep compiled components: {reason}"
        raise GuestFailure(Kind.HOST, message) from error


def is_noexec(path: Path) -> bool:
    """Whether native code cannot be mapped from here."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    except OSError:
        return False


def _require_private(name: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise GuestFailure(Kind.HOST, f"cannot trust {name}: it belongs to user {status.st_uid}")
    if status.st_mode & _OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise GuestFailure(Kind.HOST, f"cannot trust {name}: others can write to it ({mode:04o})")


_log = logging.getLogger(__name__)

TOUCH_INTERVAL_SECONDS = 1.0
"""How far the written time of last use may lag behind."""
GRACE_SECONDS = 30.0
"""What was used this recently is not evicted: some process is about to load it."""
LEFTOVER_SECONDS = 3600.0
"""Age from which something under way must have lost its process."""
FOREIGN_SECONDS = 7 * 86_400.0
"""How long the files of another version or setting of the engine wait to be used again."""

_NAME = re.compile(rf"[0-9a-f]{{64}}\.([0-9a-f]{{16}}){re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True, order=True)
class _EvictionCandidate:
    last_used: float
    file: Path
    size: int
    foreign: bool


class CompileCache:
    """The files of one folder, at most about `max_bytes` of them."""

    def __init__(
        self, folder: CompileDirectory, max_bytes: int, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._grace = grace_seconds
        self._touched: dict[Path, float] = {}
        self._pins: Counter[Path] = Counter()

    def touch(self, file: Path) -> None:
        """Note a use; the file's time is updated at most once a second."""
        now = time.time()
        if now - self._touched.get(file, 0.0) > TOUCH_INTERVAL_SECONDS:
            self._touched[file] = now
            # Another process evicted it, or the disk is read-only: the order is a guess then.
            with suppress(OSError):
                os.utime(file, (now, now))

    def pin(self, file: Path) -> None:
        """Keep this process from evicting a file that it has loaded."""
        self._pins[file] += 1

    def unpin(self, file: Path) -> None:
        """Undo one `pin`."""
        self._pins[file] -= 1
        if not self._pins[file]:
            del self._pins[file]

    def remove(self, file: Path) -> None:
        """Delete a file. Raises OSError."""
        self._touched.pop(file, None)
        file.unlink(missing_ok=True)

    def tidy(self, *, keep: Path | None = None) -> tuple[Path, ...]:
        """Evict the least recently used files until the rest fits; returns the evicted ones.

        Also deletes files of other engines that are unused for a week, and leftovers of dead
        processes. Blocks; meant for a thread.
        """
        self._sweep()
        now = time.time()
        files = sorted(self._files())
        excess = sum(each.size for each in files) - self._max_bytes
        evicted: list[Path] = []
        for each in files:
            age = now - each.last_used
            if each.file == keep or each.file in self._pins or age < self._grace:
                continue
            if (excess > 0 or (each.foreign and age > FOREIGN_SECONDS)) and self._evict(each):
                excess -= each.size
                evicted.append(each.file)
        return tuple(evicted)

    def _evict(self, each: _EvictionCandidate) -> bool:
        fields = {"file": each.file.name, "bytes": each.size}
        try:
            self.remove(each.file)
        except OSError as error:
            reason = {"why": error.strerror}
            _log.warning("compiled component not evicted", extra={"fields": fields | reason})
            return False
        _log.info("compiled component evicted", extra={"fields": fields})
        return True

    def _files(self) -> Iterator[_EvictionCandidate]:
        for file in _entries(self._folder.path):
            if named := _NAME.fullmatch(file.name):
                with suppress(OSError):
                    status = file.lstat()
                    foreign = named[1] != self._folder.engine
                    yield _EvictionCandidate(status.st_mtime, file, status.st_size, foreign)

    def _sweep(self) -> None:
        for left in _entries(self._folder.temporary):
            _remove_if_older(left, LEFTOVER_SECONDS)
        for note in _entries(self._folder.bundles):
            _remove_if_older(note, FOREIGN_SECONDS)


def _remove_if_older(path: Path, seconds: float) -> None:
    with suppress(OSError):
        if time.time() - path.lstat().st_mtime <= seconds:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []
