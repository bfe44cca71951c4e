"""Bundles on disk, unpacked: fetched once, seen whole or not at all, bounded.

The layout is that of Alga's runner, which can share or take over the directory:

    <root>/<hex>/ui/…             what pages are made of
    <root>/<hex>/bundle/…         everything else
    <root>/<hex>/bundle/.ready    there from the moment the bundle can be seen
    <root>/tmp/…                  downloads and unpacking under way
    <root>/locks/…                ours
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from algaenv.bundle.archive import unpack
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import bundle_key
from algaenv.bundle.limits import Limits
from algaenv.runner.fetch import fetch
from algaenv.runner.flight import Flights
from algaenv.runner.hold import hold, lock_file
from algaenv.runner.metrics.labels import Bundled
from algaenv.runner.room import Room
from algaenv.runner.store import Store, StoreError

_log = logging.getLogger(__name__)

UNPACKERS = 2
"""Archives unpacked at a time, each by one thread."""
OPEN_DIRECTORY = 0o755
READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Held:
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
        room: Room,
        limits: Limits,
        tell: Callable[[Bundled], None] | None = None,
    ) -> None:
        self._root = root
        self._tell = tell or _nobody
        self._store = store
        self._room = room
        self._limits = limits
        self._flights: Flights[str, None] = Flights()
        self._unpackers = asyncio.Semaphore(UNPACKERS)

    def used(self, digest: Digest) -> None:
        """Note that a bundle was served just now, from memory or from disk."""
        self._room.used(digest)

    def pinned(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep a bundle, once it is there, for as long as this lasts."""
        return self._room.pinned(digest)

    async def ensure(self, tenant: str, extension: str, digest: Digest) -> Held:
        """Have the bundle on disk.

        Raises StoreError, HashMismatch, ArchiveError, OSError; none of them is remembered.
        """
        folder = self._root / digest.hex
        if is_ready(folder):
            self._room.used(digest)
            self._tell("hit")
            return Held(folder, fetched=False)
        try:
            if not tenant:
                raise StoreError("no tenant to look under")
            key = bundle_key(tenant, extension, digest)
            await self._flights.join(key, lambda: self._bring(key, digest))
        except BaseException:
            self._tell("failed")
            raise
        self._tell("fetched")
        return Held(folder, fetched=True)

    async def _bring(self, key: str, digest: Digest) -> None:
        room = self._room
        room.prepare()
        async with hold(lock_file(room.locks, digest)):
            if is_ready(self._root / digest.hex):
                return
            started = time.monotonic()
            archive = await fetch(
                self._store, key, digest, folder=room.temporary, limit=self._limits.compressed
            )
            try:
                async with self._unpackers:
                    await asyncio.to_thread(self._place, archive, digest)
            finally:
                archive.unlink(missing_ok=True)
        room.arrived(digest)
        took = round((time.monotonic() - started) * 1000, 1)
        _log.info("bundle fetched", extra={"fields": {"hash": digest.hex, "duration_ms": took}})
        await asyncio.to_thread(room.make, keep=digest)

    def _place(self, archive: Path, digest: Digest) -> None:
        """Unpack beside, and move it to where it is looked for in one step."""
        aside = Path(tempfile.mkdtemp(dir=self._room.temporary, prefix=f"{digest.hex}."))
        try:
            unpack(archive, aside, self._limits)
            ready = aside / "bundle" / ".ready"
            ready.write_text("ok")
            ready.chmod(READ_ONLY)
            aside.chmod(OPEN_DIRECTORY)
            _settle(aside)
            final = self._root / digest.hex
            if final.exists():
                # What an interrupted runner of another kind left: no marker, so not to be served.
                self._room.discard(final)
            aside.rename(final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _nobody(result: Bundled) -> None:
    """Nobody counts."""


def is_ready(folder: Path) -> bool:
    """Whether a bundle is there as a whole."""
    return os.path.exists(f"{folder}/bundle/.ready")  # noqa: PTH110 - on the path of requests


def _settle(folder: Path) -> None:
    """Have every file on the disk before the marker can be seen: it is never doubted later."""
    for place, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(place, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
