"""Keeps a cache directory within its space: what was not used for longest goes first.

The time of last use of an entry is its modification time, which every process that shares the
directory can read.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_log = logging.getLogger(__name__)

TOUCH_INTERVAL_SECONDS = 1.0
"""How far the written time of last use may lag behind."""
LEFTOVER_SECONDS = 3600.0
"""Age from which something under way must have lost its process."""


@dataclass(frozen=True, slots=True, order=True)
class CacheEntry:
    """A file or directory that may be evicted; one that is `expired` goes even if there is room."""

    last_used: float
    path: Path
    size: int
    expired: bool = False


class CacheFolder(Protocol):
    """Where the entries are."""

    @property
    def kind(self) -> str:
        """What an entry is called in the log."""
        ...

    def entries(self) -> Iterable[CacheEntry]:
        """All entries there are; blocks."""
        ...

    def delete(self, entry: CacheEntry) -> bool:
        """Delete an entry, unless another process works on it. Raises OSError."""
        ...

    def log_fields(self, entry: CacheEntry) -> Mapping[str, object]:
        """What the log says about an entry."""
        ...


class CacheEvictor:
    """The space of one cache directory; `max_bytes` None means all there is.

    What was used within `grace_seconds` stays: some process may be about to read it.
    """

    def __init__(
        self, folder: CacheFolder, max_bytes: int | None, *, grace_seconds: float = 0.0
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._grace = grace_seconds
        self._unwritten: dict[Path, float] = {}
        """Times of use since the last one that was written down."""
        self._written: dict[Path, float] = {}
        self._pins: Counter[Path] = Counter()

    def touch(self, path: Path) -> None:
        """Note a use, and write it down at most once a second."""
        now = time.time()
        if now - self._written.get(path, 0.0) > TOUCH_INTERVAL_SECONDS:
            self._write_time(path, now)
        else:
            self._unwritten[path] = now

    def pin(self, path: Path) -> None:
        """Keep this process from evicting an entry."""
        self._pins[path] += 1

    def unpin(self, path: Path) -> None:
        """Undo one `pin`."""
        self._pins[path] -= 1
        if not self._pins[path]:
            del self._pins[path]

    @contextmanager
    def pinned(self, path: Path) -> Iterator[None]:
        """Keep this process from evicting an entry while it is read."""
        self.pin(path)
        try:
            yield
        finally:
            self.unpin(path)

    def evict(self, *, keep: Path | None = None) -> tuple[Path, ...]:
        """Delete what was not used for longest, until the rest fits; returns what was deleted.

        `keep` stays even when it alone takes more. Blocks; meant for a thread.
        """
        if self._max_bytes is None:
            return ()
        for path, used_at in list(self._unwritten.items()):
            self._write_time(path, used_at)
        now = time.time()
        entries = sorted(self._folder.entries())
        excess = sum(entry.size for entry in entries) - self._max_bytes
        evicted: list[Path] = []
        for entry in entries:
            if entry.path == keep or entry.path in self._pins:
                continue
            if now - entry.last_used < self._grace:
                continue
            if (excess > 0 or entry.expired) and self._delete(entry):
                excess -= entry.size
                evicted.append(entry.path)
        return tuple(evicted)

    def _delete(self, entry: CacheEntry) -> bool:
        kind, fields = self._folder.kind, self._folder.log_fields(entry)
        try:
            if not self._folder.delete(entry):
                return False
        except OSError as error:
            reason = {"why": error.strerror}
            _log.warning("%s not evicted", kind, extra={"fields": {**fields, **reason}})
            return False
        self._unwritten.pop(entry.path, None)
        self._written.pop(entry.path, None)
        _log.info("%s evicted", kind, extra={"fields": fields})
        return True

    def _write_time(self, path: Path, used_at: float) -> None:
        self._written[path] = used_at
        self._unwritten.pop(path, None)
        # Another process evicted it, or the directory is not ours: the order is a guess then.
        with suppress(OSError):
            os.utime(path, (used_at, used_at))


def entries_of(folder: Path) -> list[Path]:
    """What is in a directory; nothing when it cannot be read."""
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def remove(path: Path) -> None:
    """Delete a file, or a directory as far as that is possible. Raises OSError for a file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_older(folder: Path, seconds: float) -> None:
    """Delete what has lain in a directory for longer."""
    for path in entries_of(folder):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > seconds:
                remove(path)
