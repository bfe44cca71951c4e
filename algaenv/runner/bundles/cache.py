"""Bundles on disk, unpacked: downloaded once, visible whole or not at all, bounded in size.

The layout is that of Alga's runner, which can share or take over the directory:

    <root>/<hex>/ui/…             static files of the pages
    <root>/<hex>/bundle/…         everything else
    <root>/<hex>/bundle/.ready    exists from the moment the bundle is complete
    <root>/tmp/…                  downloads and unpacking under way
    <root>/locks/…                ours

The time of last use of a bundle is its directory's modification time, which every process that
shares the cache can read.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from algaenv.bundle.archive import unpack
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import Limits, bundle_key
from algaenv.runner.bundles.store import DOWNLOAD_SECONDS, Store, StoreError
from algaenv.runner.locks import SingleFlight, bundle_lock_path, file_lock, try_file_lock
from algaenv.runner.observability.metrics import BundleLabel


class HashMismatch(Exception):
    """The store holds other bytes under this digest."""

    def __init__(self, *, expected: Digest, computed: Digest) -> None:
        self.expected, self.computed = expected, computed
        super().__init__(f"archive hash mismatch: expected {expected.hex}, got {computed.hex}")


async def download(store: Store, key: str, digest: Digest, *, folder: Path, limit: int) -> Path:
    """Download an object of at most `limit` bytes that must have this digest.

    The file is readable by its owner only and stays in `folder` only when all went well.
    Raises StoreError, HashMismatch, OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f"{digest.hex}.", suffix=".tar.zst")
    try:
        computed = await _receive(store, key, descriptor, limit)
        if computed != digest:
            raise HashMismatch(expected=digest, computed=computed)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


async def _receive(store: Store, key: str, descriptor: int, limit: int) -> Digest:
    seen = hashlib.sha256()
    size = 0
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        try:
            with anyio.fail_after(DOWNLOAD_SECONDS):
                async with aclosing(store.read(key)) as chunks:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > limit:
                            raise StoreError(f"more than {limit} bytes")
                        seen.update(chunk)
                        file.write(chunk)
        except TimeoutError:
            raise StoreError(f"not complete within {DOWNLOAD_SECONDS:g} s") from None
    return Digest(seen.hexdigest())


_log = logging.getLogger(__name__)
_HEX = re.compile(r"[0-9a-f]{64}")

TOUCH_INTERVAL_SECONDS = 1.0
"""How far the written time of last use may lag behind."""
LEFTOVER_SECONDS = 3600.0
"""Age from which something under way must have lost its process."""


@dataclass(frozen=True, slots=True, order=True)
class _EvictionCandidate:
    last_used: float
    digest: Digest
    folder: Path


class CacheEvictor:
    """The space of one cache directory; `max_bytes` None means all there is."""

    def __init__(self, root: Path, max_bytes: int | None) -> None:
        self._root = root
        self.temporary = root / "tmp"
        self.locks = root / "locks"
        self._max_bytes = max_bytes
        self._last_used: dict[Digest, float] = {}
        self._touched: dict[Digest, float] = {}
        self._sizes: dict[Digest, int] = {}
        self._pins: Counter[Digest] = Counter()

    def touch(self, digest: Digest) -> None:
        """Note a use, and now and then write it down."""
        now = time.time()
        self._last_used[digest] = now
        if now - self._touched.get(digest, 0.0) > TOUCH_INTERVAL_SECONDS:
            self._touch_directory(digest, now)

    def added(self, digest: Digest) -> None:
        """Note that a bundle was put in place, and forget what was known of one before it."""
        self._sizes.pop(digest, None)
        self.touch(digest)

    @contextmanager
    def pin(self, digest: Digest) -> Iterator[None]:
        """Keep this process from letting go of a bundle while it is read."""
        self._pins[digest] += 1
        try:
            yield
        finally:
            self._pins[digest] -= 1
            if not self._pins[digest]:
                del self._pins[digest]

    def prepare(self) -> None:
        """Make the directories this cache works in. Raises OSError."""
        for folder in (self.temporary, self.locks):
            folder.mkdir(parents=True, exist_ok=True)

    def evict(self, *, keep: Digest | None = None) -> tuple[Digest, ...]:
        """Let go of what was not used for longest, until the rest fits; returns what went.

        `keep` stays even when it alone takes more, and so does what is being read. Blocks; meant
        for a thread.
        """
        if self._max_bytes is None:
            return ()
        for digest, used_at in list(self._last_used.items()):
            self._touch_directory(digest, used_at)
        bundles = sorted(self._bundles())
        excess = sum(map(self._size, bundles)) - self._max_bytes
        evicted: list[Digest] = []
        for bundle in bundles:
            if excess <= 0:
                break
            if bundle.digest == keep or bundle.digest in self._pins:
                continue
            if self._drop(bundle):
                excess -= self._sizes.pop(bundle.digest, 0)
                evicted.append(bundle.digest)
        return tuple(evicted)

    def sweep(self) -> None:
        """Delete leftovers of dead processes. Blocks."""
        for leftover in _entries(self.temporary):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    _remove(leftover)

    def remove(self, folder: Path) -> None:
        """Take a directory out of sight in one step, then delete it. Raises OSError."""
        aside = Path(tempfile.mkdtemp(dir=self.temporary, prefix=f"{folder.name}.gone."))
        folder.rename(aside / folder.name)
        _remove(aside)

    def _drop(self, bundle: _EvictionCandidate) -> bool:
        lock = bundle_lock_path(self.locks, bundle.digest)
        try:
            with try_file_lock(lock) as held:
                if not held:
                    return False
                self.remove(bundle.folder)
        except OSError as error:
            fields = {"hash": bundle.digest.hex, "why": error.strerror}
            _log.warning("bundle not evicted", extra={"fields": fields})
            return False
        self._last_used.pop(bundle.digest, None)
        self._touched.pop(bundle.digest, None)
        _log.info("bundle evicted", extra={"fields": {"hash": bundle.digest.hex}})
        return True

    def _bundles(self) -> list[_EvictionCandidate]:
        found: list[_EvictionCandidate] = []
        for folder in _entries(self._root):
            if _HEX.fullmatch(folder.name):
                with suppress(OSError):
                    last_used = folder.stat().st_mtime
                    found.append(_EvictionCandidate(last_used, Digest(folder.name), folder))
        return found

    def _size(self, bundle: _EvictionCandidate) -> int:
        if bundle.digest not in self._sizes:
            self._sizes[bundle.digest] = _size(bundle.folder)
        return self._sizes[bundle.digest]

    def _touch_directory(self, digest: Digest, used_at: float) -> None:
        self._touched[digest] = used_at
        try:
            os.utime(self._root / digest.hex, (used_at, used_at))
        except OSError:
            # Another process evicted it, or the directory is not ours: the order is a guess.
            self._last_used.pop(digest, None)


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).stat().st_size
    return total


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


UNPACKERS = 2
"""Archives unpacked at a time, each by one thread."""
OPEN_DIRECTORY = 0o755
READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class CachedBundle:
    """A bundle on disk; `fetched` when it was not there before this request."""

    folder: Path
    fetched: bool

    @property
    def ui(self) -> Path:
        """The root of its pages; may be empty."""
        return self.folder / "ui"


class BundleCache:
    """The bundles of one directory; several processes may share it."""

    def __init__(
        self,
        root: Path,
        store: Store,
        *,
        evictor: CacheEvictor,
        limits: Limits,
        on_result: Callable[[BundleLabel], None] | None = None,
    ) -> None:
        self._root = root
        self._on_result = on_result or _count_nothing
        self._store = store
        self._evictor = evictor
        self._limits = limits
        self._single_flight: SingleFlight[str, None] = SingleFlight()
        self._unpackers = asyncio.Semaphore(UNPACKERS)

    def touch(self, digest: Digest) -> None:
        """Note that a bundle was served just now, from memory or from disk."""
        self._evictor.touch(digest)

    def pin(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep a bundle, once it is there, for as long as this lasts."""
        return self._evictor.pin(digest)

    async def ensure(self, tenant: str, extension: str, digest: Digest) -> CachedBundle:
        """Have the bundle on disk.

        Raises StoreError, HashMismatch, ArchiveError, OSError; none of them is remembered.
        """
        folder = self._root / digest.hex
        if is_ready(folder):
            self._evictor.touch(digest)
            self._on_result("hit")
            return CachedBundle(folder, fetched=False)
        try:
            if not tenant:
                raise StoreError("no tenant to look under")
            key = bundle_key(tenant, extension, digest)
            await self._single_flight.join(key, lambda: self._fetch(key, digest))
        except BaseException:
            self._on_result("failed")
            raise
        self._on_result("fetched")
        return CachedBundle(folder, fetched=True)

    async def _fetch(self, key: str, digest: Digest) -> None:
        evictor = self._evictor
        evictor.prepare()
        async with file_lock(bundle_lock_path(evictor.locks, digest)):
            if is_ready(self._root / digest.hex):
                return
            started = time.monotonic()
            archive = await download(
                self._store, key, digest, folder=evictor.temporary, limit=self._limits.compressed
            )
            try:
                async with self._unpackers:
                    await asyncio.to_thread(self._install, archive, digest)
            finally:
                archive.unlink(missing_ok=True)
        evictor.added(digest)
        took = round((time.monotonic() - started) * 1000, 1)
        _log.info("bundle fetched", extra={"fields": {"hash": digest.hex, "duration_ms": took}})
        await asyncio.to_thread(evictor.evict, keep=digest)

    def _install(self, archive: Path, digest: Digest) -> None:
        """Unpack beside, and move it to where it is looked for in one step."""
        aside = Path(tempfile.mkdtemp(dir=self._evictor.temporary, prefix=f"{digest.hex}."))
        try:
            unpack(archive, aside, self._limits)
            ready = aside / "bundle" / ".ready"
            ready.write_text("ok")
            ready.chmod(READ_ONLY)
            aside.chmod(OPEN_DIRECTORY)
            _fsync_tree(aside)
            final = self._root / digest.hex
            if final.exists():
                # What an interrupted runner of another kind left: no marker, so not to be served.
                self._evictor.remove(final)
            aside.rename(final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _count_nothing(result: BundleLabel) -> None:
    """Without a counter."""


def is_ready(folder: Path) -> bool:
    """Whether a bundle is there as a whole."""
    return os.path.exists(f"{folder}/bundle/.ready")  # noqa: PTH110 - on the path of requests


def _fsync_tree(folder: Path) -> None:
    """Have every file on the disk before the marker can be seen: it is never doubted later."""
    for place, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(place, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
