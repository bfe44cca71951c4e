"""Bundles on disk, unpacked: downloaded once, visible whole or not at all, bounded in size.

The layout is that of Alga's runner, which can share or take over the directory:

    <root>/<hex>/ui/…             static files of the pages
    <root>/<hex>/bundle/…         everything else
    <root>/<hex>/bundle/.ready    exists from the moment the bundle is complete
    <root>/tmp/…                  downloads and unpacking under way
    <root>/locks/…                ours

The time of last use of a bundle is its directory's modification time.
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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from algaenv.bundle.archive import SkippedEntries, unpack
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import Limits, bundle_key
from algaenv.runner.bundle_store import DOWNLOAD_SECONDS, Store, StoreError
from algaenv.runner.eviction import (
    LEFTOVER_SECONDS,
    CacheEntry,
    CacheEvictor,
    entries_of,
    remove,
    remove_older,
)
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


class BundleDirectory:
    """The bundles of one cache directory, as entries that may be evicted."""

    kind = "bundle"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.temporary = root / "tmp"
        self.locks = root / "locks"
        self._sizes: dict[tuple[Path, int], int] = {}
        """By place and inode: a bundle does not change, but one may take the place of another."""

    def path_of(self, digest: Digest) -> Path:
        """Where a bundle is, or would be."""
        return self._root / digest.hex

    def prepare(self) -> None:
        """Make the directories that are worked in. Raises OSError."""
        for folder in (self.temporary, self.locks):
            folder.mkdir(parents=True, exist_ok=True)

    def entries(self) -> Iterator[CacheEntry]:
        """All bundles, complete or not."""
        sizes: dict[tuple[Path, int], int] = {}
        for folder in entries_of(self._root):
            if _HEX.fullmatch(folder.name):
                with suppress(OSError):
                    status = folder.stat()
                    known = folder, status.st_ino
                    sizes[known] = self._sizes.get(known) or _size(folder)
                    yield CacheEntry(status.st_mtime, folder, sizes[known])
        self._sizes = sizes

    def delete(self, entry: CacheEntry) -> bool:
        """Delete a bundle, unless its lock is held. Raises OSError."""
        with try_file_lock(bundle_lock_path(self.locks, Digest(entry.path.name))) as held:
            if held:
                self.remove(entry.path)
            return held

    def log_fields(self, entry: CacheEntry) -> dict[str, object]:
        """Its digest."""
        return {"hash": entry.path.name}

    def sweep(self) -> None:
        """Delete leftovers of dead processes. Blocks."""
        remove_older(self.temporary, LEFTOVER_SECONDS)

    def remove(self, folder: Path) -> None:
        """Take a directory out of sight in one step, then delete it. Raises OSError."""
        aside = Path(tempfile.mkdtemp(dir=self.temporary, prefix=f"{folder.name}.gone."))
        folder.rename(aside / folder.name)
        remove(aside)


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).stat().st_size
    return total


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
        max_bytes: int | None,
        limits: Limits,
        on_result: Callable[[BundleLabel], None] | None = None,
    ) -> None:
        self._directory = BundleDirectory(root)
        self._on_result = on_result or _count_nothing
        self._store = store
        self._evictor = CacheEvictor(self._directory, max_bytes)
        self._limits = limits
        self._single_flight: SingleFlight[str, None] = SingleFlight()
        self._unpackers = asyncio.Semaphore(UNPACKERS)

    def touch(self, digest: Digest) -> None:
        """Note that a bundle was served just now, from memory or from disk."""
        self._evictor.touch(self._directory.path_of(digest))

    def pin(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep a bundle, once it is there, for as long as this lasts."""
        return self._evictor.pinned(self._directory.path_of(digest))

    def tidy(self) -> None:
        """Delete leftovers, and keep within bounds. Blocks."""
        with suppress(OSError):
            self._directory.prepare()
            self._directory.sweep()
            self._evictor.evict()

    async def ensure(self, tenant: str, extension: str, digest: Digest) -> CachedBundle:
        """Have the bundle on disk.

        Raises StoreError, HashMismatch, ArchiveError, OSError; none of them is remembered.
        """
        folder = self._directory.path_of(digest)
        if is_ready(folder):
            self._evictor.touch(folder)
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
        directory = self._directory
        folder = directory.path_of(digest)
        directory.prepare()
        async with file_lock(bundle_lock_path(directory.locks, digest)):
            if is_ready(folder):
                return
            started = time.monotonic()
            archive = await download(
                self._store, key, digest, folder=directory.temporary, limit=self._limits.compressed
            )
            try:
                async with self._unpackers:
                    await asyncio.to_thread(self._install, archive, digest)
            finally:
                archive.unlink(missing_ok=True)
        self._evictor.touch(folder)
        took = round((time.monotonic() - started) * 1000, 1)
        _log.info("bundle fetched", extra={"fields": {"hash": digest.hex, "duration_ms": took}})
        await asyncio.to_thread(self._evictor.evict, keep=folder)

    def _install(self, archive: Path, digest: Digest) -> None:
        """Unpack beside, and move it to where it is looked for in one step."""
        aside = Path(tempfile.mkdtemp(dir=self._directory.temporary, prefix=f"{digest.hex}."))
        try:
            _warn_of_skipped(digest, unpack(archive, aside, self._limits))
            ready = aside / "bundle" / ".ready"
            ready.write_text("ok")
            ready.chmod(READ_ONLY)
            aside.chmod(OPEN_DIRECTORY)
            _fsync_tree(aside)
            final = self._directory.path_of(digest)
            if final.exists():
                # What an interrupted runner of another kind left: no marker, so not to be served.
                self._directory.remove(final)
            aside.rename(final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _warn_of_skipped(digest: Digest, skipped: SkippedEntries) -> None:
    if skipped.count:
        fields = {"hash": digest.hex, "count": skipped.count, "entries": skipped.named}
        _log.warning("bundle entries passed over", extra={"fields": fields})


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
