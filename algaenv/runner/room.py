"""How much of the disk bundles may take, and which of them goes first.

When a bundle was last used is kept as its directory's modification time, where every process
that shares the cache sees it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.runner.hold import lock_file, try_hold

_log = logging.getLogger(__name__)
_HEX = re.compile(r"[0-9a-f]{64}")

WRITE_DOWN_SECONDS = 1.0
"""How far the written time of last use may lag behind."""
LEFTOVER_SECONDS = 3600.0
"""Age from which something under way must have lost its process."""


@dataclass(frozen=True, slots=True, order=True)
class _Kept:
    used: float
    digest: Digest
    folder: Path


class Room:
    """The space of one cache directory; `max_bytes` None means all there is."""

    def __init__(self, root: Path, max_bytes: int | None) -> None:
        self._root = root
        self.temporary = root / "tmp"
        self.locks = root / "locks"
        self._max_bytes = max_bytes
        self._used: dict[Digest, float] = {}
        self._written: dict[Digest, float] = {}
        self._sizes: dict[Digest, int] = {}
        self._pins: Counter[Digest] = Counter()

    def used(self, digest: Digest) -> None:
        """Note a use, and now and then write it down."""
        now = time.time()
        self._used[digest] = now
        if now - self._written.get(digest, 0.0) > WRITE_DOWN_SECONDS:
            self._write_down(digest, now)

    def arrived(self, digest: Digest) -> None:
        """Note that a bundle was put in place, and forget what was known of one before it."""
        self._sizes.pop(digest, None)
        self.used(digest)

    @contextmanager
    def pinned(self, digest: Digest) -> Iterator[None]:
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

    def make(self, *, keep: Digest | None = None) -> tuple[Digest, ...]:
        """Let go of what was not used for longest, until the rest fits; returns what went.

        `keep` stays even when it alone takes more, and so does what is being read. Blocks; meant
        for a thread.
        """
        if self._max_bytes is None:
            return ()
        for digest, moment in list(self._used.items()):
            self._write_down(digest, moment)
        bundles = sorted(self._bundles())
        excess = sum(map(self._size, bundles)) - self._max_bytes
        gone: list[Digest] = []
        for bundle in bundles:
            if excess <= 0:
                break
            if bundle.digest == keep or bundle.digest in self._pins:
                continue
            if self._drop(bundle):
                excess -= self._sizes.pop(bundle.digest, 0)
                gone.append(bundle.digest)
        return tuple(gone)

    def sweep(self) -> None:
        """Clear away what processes that are long gone left behind. Blocks."""
        for left in _entries(self.temporary):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFTOVER_SECONDS:
                    _remove(left)

    def discard(self, folder: Path) -> None:
        """Take a directory out of sight in one step, then delete it. Raises OSError."""
        aside = Path(tempfile.mkdtemp(dir=self.temporary, prefix=f"{folder.name}.gone."))
        folder.rename(aside / folder.name)
        _remove(aside)

    def _drop(self, bundle: _Kept) -> bool:
        lock = lock_file(self.locks, bundle.digest)
        try:
            with try_hold(lock) as held:
                if not held:
                    return False
                self.discard(bundle.folder)
        except OSError as error:
            fields = {"hash": bundle.digest.hex, "why": error.strerror}
            _log.warning("bundle not evicted", extra={"fields": fields})
            return False
        self._used.pop(bundle.digest, None)
        self._written.pop(bundle.digest, None)
        _log.info("bundle evicted", extra={"fields": {"hash": bundle.digest.hex}})
        return True

    def _bundles(self) -> list[_Kept]:
        found: list[_Kept] = []
        for folder in _entries(self._root):
            if _HEX.fullmatch(folder.name):
                with suppress(OSError):
                    used = folder.stat().st_mtime
                    found.append(_Kept(used, Digest(folder.name), folder))
        return found

    def _size(self, bundle: _Kept) -> int:
        if bundle.digest not in self._sizes:
            self._sizes[bundle.digest] = _size(bundle.folder)
        return self._sizes[bundle.digest]

    def _write_down(self, digest: Digest, moment: float) -> None:
        self._written[digest] = moment
        try:
            os.utime(self._root / digest.hex, (moment, moment))
        except OSError:
            # Another process let go of it, or the directory is not ours: its order is a guess.
            self._used.pop(digest, None)


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
