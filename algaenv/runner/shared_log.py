"""What processes that share a cache tell each other: small things under a name.

Each process appends to files of its own and reads on in those of the others when it wants to know
something. So nobody waits for anybody, and to tell something costs one write: a file for each
thing would cost ten times as much, and a hundred times on a file system that avoids the numbers
of files deleted lately. Nothing is forced onto the disk: what is lost with the machine is missed
by nobody.

    <folder>/<writer>.<serial>    records, the oldest first; only the last of a writer grows
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PRIVATE = 0o700
SEGMENTS = 4
"""Over how many files the things of one process are spread; the oldest file goes as a whole."""

_HEAD = struct.Struct("<I20sd")
"""Length of what follows, name, and when it was told."""
_SUFFIX = ".part"
_CERTAIN_NS = 50_000_000
"""A directory that changed more recently may change again without showing it."""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How many things, how many bytes of them, and for how many seconds they are remembered."""

    most: int
    most_bytes: int
    seconds: float

    def shared(self, processes: int) -> LogBounds:
        """The part of one of several processes."""
        each = max(1, processes)
        return LogBounds(max(SEGMENTS, self.most // each), self.most_bytes // each, self.seconds)


@dataclass(slots=True, eq=False)
class _Segment:
    writer: str
    serial: int
    descriptor: int
    began: float
    read: int = 0
    """Up to where it was read; for a file of our own, how long it is."""
    last: float = 0.0
    names: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Entry:
    part: _Segment
    place: int
    length: int
    moment: float


class SharedLog:
    """Things below `folder`, a directory of our own; names are 20 bytes. Not for many threads.

    One of `processes` that tell things at the same time. The methods raise OSError, also for a
    directory that others may look into or that somebody else owns.
    """

    def __init__(self, folder: Path, bounds: LogBounds, *, processes: int = 1) -> None:
        self._folder = str(folder)
        self._bounds = bounds
        self._share = bounds.shared(processes)
        self._writer = secrets.token_hex(8)
        self._serial = 0
        self._entries: dict[bytes, _Entry] = {}
        self._others: dict[str, _Segment] = {}
        self._growing: list[_Segment] = []
        self._own: list[_Segment] = []
        self._listed = -1

    def prepare(self) -> None:
        """Make the directories that are missing, and see that nobody else can use them."""
        folder = Path(self._folder)
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=PRIVATE, exist_ok=True)
            found = each.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise PermissionError(errno.EACCES, "not a directory of ours", str(each))
            if found.st_mode & 0o077:
                raise PermissionError(errno.EACCES, "others may use the directory", str(each))

    def get(self, name: bytes) -> bytes | None:
        """What was told last under this name, by whichever process; None when too long ago."""
        self._read_on()
        entry = self._entries.get(name)
        if entry is None or time.time() - entry.moment > self._bounds.seconds:
            return None
        content = os.pread(entry.part.descriptor, entry.length, entry.place)
        return content if len(content) == entry.length else None

    def put(self, name: bytes, content: bytes) -> None:
        """Tell something, which is not empty, in place of what was told before.

        Something longer than a whole file may be is left untold.
        """
        size = _HEAD.size + len(content)
        if size > self._share.most_bytes // SEGMENTS:
            return
        now = time.time()
        part = self._part_for(size, now)
        try:
            written = os.writev(part.descriptor, (_HEAD.pack(len(content), name, now), content))
        except OSError:
            self._serial += 1
            raise
        if written != size:
            # Nobody reads past half a record: the next one begins a new file.
            self._serial += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._enter(part, name, _Entry(part, part.read + _HEAD.size, len(content), now))
        part.read += size

    def sweep(self) -> None:
        """Take away what is too old or too much, also of processes that are gone."""
        now = time.time()
        self._drop_own(now)
        found: list[tuple[float, int, str]] = []
        for file in self._files():
            with suppress(FileNotFoundError):
                seen = os.stat(file)  # noqa: PTH116
                found.append((seen.st_mtime, seen.st_size, file))
        total = 0
        for moment, size, file in sorted(found, reverse=True):
            total += size
            if now - moment > self._bounds.seconds or total > self._bounds.most_bytes:
                with suppress(FileNotFoundError):
                    os.unlink(file)  # noqa: PTH108
        self._read_on()

    def _read_on(self) -> None:
        try:
            changed = os.stat(self._folder).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            # Somebody cleared the cache away.
            self.prepare()
            changed, self._listed = 0, -1
        if changed != self._listed:
            self._list()
            self._listed = changed if time.time_ns() - changed > _CERTAIN_NS else -1
        for part in self._growing:
            size = os.fstat(part.descriptor).st_size
            if size > part.read:
                self._read(part, size)

    def _list(self) -> None:
        """Find the files that came, and forget those that went."""
        names = self._files()
        there = set(names)
        for file in [file for file in self._others if file not in there]:
            self._forget(self._others.pop(file))
        for part in [part for part in self._own if self._file(part) not in there]:
            self._own.remove(part)
            self._forget(part)
        for file in names:
            writer, _, serial = Path(file).stem.partition(".")
            if file in self._others or writer == self._writer or not serial.isdigit():
                continue
            with suppress(FileNotFoundError):
                descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                self._others[file] = _Segment(writer, int(serial), descriptor, began=0.0)
        newest: dict[str, int] = {}
        for part in self._others.values():
            newest[part.writer] = max(part.serial, newest.get(part.writer, 0))
            self._read(part, os.fstat(part.descriptor).st_size)
        self._growing = [
            part for part in self._others.values() if part.serial == newest[part.writer]
        ]

    def _read(self, part: _Segment, size: int) -> None:
        place = part.read
        while place + _HEAD.size <= size:
            head = os.pread(part.descriptor, _HEAD.size, place)
            length, name, moment = _HEAD.unpack(head)
            place += _HEAD.size
            if not length or place + length > size:
                break  # It is being written, or was cut short for ever.
            self._enter(part, name, _Entry(part, place, length, moment))
            place += length
            part.read = place

    def _enter(self, part: _Segment, name: bytes, entry: _Entry) -> None:
        part.names.append(name)
        part.last = max(part.last, entry.moment)
        known = self._entries.get(name)
        if known is None or known.moment <= entry.moment:
            self._entries[name] = entry

    def _part_for(self, size: int, now: float) -> _Segment:
        share = self._share
        part = self._own[-1] if self._own else None
        if (
            part is not None
            and part.serial == self._serial
            and part.read + size <= share.most_bytes // SEGMENTS
            and len(part.names) < share.most // SEGMENTS
            and now - part.began <= share.seconds / SEGMENTS
        ):
            return part
        self._serial += 1
        part = _Segment(self._writer, self._serial, -1, began=now)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            part.descriptor = os.open(self._file(part), flags, 0o600)
        except FileNotFoundError:
            self.prepare()
            part.descriptor = os.open(self._file(part), flags, 0o600)
        self._own.append(part)
        self._drop_own(now)
        return part

    def _drop_own(self, now: float) -> None:
        """Let go of our oldest files; there is room for all but what is being written."""
        while len(self._own) > SEGMENTS or (
            self._own and self._own[0].last and now - self._own[0].last > self._bounds.seconds
        ):
            part = self._own.pop(0)
            with suppress(FileNotFoundError):
                os.unlink(self._file(part))  # noqa: PTH108
            self._forget(part)

    def _forget(self, part: _Segment) -> None:
        os.close(part.descriptor)
        for name in part.names:
            entry = self._entries.get(name)
            if entry is not None and entry.part is part:
                del self._entries[name]
        self._growing = [each for each in self._growing if each is not part]

    def _files(self) -> list[str]:
        return [
            f"{self._folder}/{name}"
            for name in os.listdir(self._folder)  # noqa: PTH208
            if name.endswith(_SUFFIX)
        ]

    def _file(self, part: _Segment) -> str:
        return f"{self._folder}/{part.writer}.{part.serial}{_SUFFIX}"
