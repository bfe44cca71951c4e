"""Which compiled components stay on the disk, and which goes first.

When one was last used is kept as its file's modification time, where every process that shares the
directory sees it. A file that goes while another process has it loaded costs that process nothing.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from algaenv.runner.compiling.folder import SUFFIX, Folder

_log = logging.getLogger(__name__)

WRITE_DOWN_SECONDS = 1.0
"""How far the written time of last use may lag behind."""
GRACE_SECONDS = 30.0
"""What was used this recently is not evicted: some process is about to load it."""
LEFTOVER_SECONDS = 3600.0
"""Age from which something under way must have lost its process."""
FOREIGN_SECONDS = 7 * 86_400.0
"""How long the files of another version or setting of the engine wait to be used again."""

_NAME = re.compile(rf"[0-9a-f]{{64}}\.([0-9a-f]{{16}}){re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True, order=True)
class _Kept:
    used: float
    file: Path
    size: int
    foreign: bool


class Kept:
    """The files of one folder, at most about `max_bytes` of them."""

    def __init__(
        self, folder: Folder, max_bytes: int, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._grace = grace_seconds
        self._written: dict[Path, float] = {}
        self._pins: Counter[Path] = Counter()

    def used(self, file: Path) -> None:
        """Note a use, and now and then write it down."""
        now = time.time()
        if now - self._written.get(file, 0.0) > WRITE_DOWN_SECONDS:
            self._written[file] = now
            # Another process let go of it, or the disk is read-only: its order is a guess then.
            with suppress(OSError):
                os.utime(file, (now, now))

    def pin(self, file: Path) -> None:
        """Keep this process from letting go of a file that it has loaded."""
        self._pins[file] += 1

    def unpin(self, file: Path) -> None:
        """Undo one `pin`."""
        self._pins[file] -= 1
        if not self._pins[file]:
            del self._pins[file]

    def drop(self, file: Path) -> None:
        """Delete a file, wherever that stands. Raises OSError."""
        self._written.pop(file, None)
        file.unlink(missing_ok=True)

    def tidy(self, *, keep: Path | None = None) -> tuple[Path, ...]:
        """Let go of what was not used for longest until the rest fits; returns what went.

        Also clears away what no engine has asked for in a week, and what processes that are long
        gone left behind. Blocks; meant for a thread.
        """
        self._sweep()
        now = time.time()
        files = sorted(self._files())
        excess = sum(each.size for each in files) - self._max_bytes
        gone: list[Path] = []
        for each in files:
            age = now - each.used
            if each.file == keep or each.file in self._pins or age < self._grace:
                continue
            if (excess > 0 or (each.foreign and age > FOREIGN_SECONDS)) and self._evict(each):
                excess -= each.size
                gone.append(each.file)
        return tuple(gone)

    def _evict(self, each: _Kept) -> bool:
        fields = {"file": each.file.name, "bytes": each.size}
        try:
            self.drop(each.file)
        except OSError as error:
            why = {"why": error.strerror}
            _log.warning("compiled component not evicted", extra={"fields": fields | why})
            return False
        _log.info("compiled component evicted", extra={"fields": fields})
        return True

    def _files(self) -> Iterator[_Kept]:
        for file in _entries(self._folder.path):
            if named := _NAME.fullmatch(file.name):
                with suppress(OSError):
                    found = file.lstat()
                    foreign = named[1] != self._folder.engine
                    yield _Kept(found.st_mtime, file, found.st_size, foreign)

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
