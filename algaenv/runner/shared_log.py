"""Small values by name, shared by the processes that share a cache: append-only segment files.

    <folder>/<writer>.<serial>.part    records, the oldest first; only the last of a writer grows

    (none) --first put--> growing --full, or old--> closed --too old, or too many--> deleted
                             |
                             '--failed or partial write--> closed: readers stop at the bad record

Each process appends to segments of its own and reads new records of the others' on demand. So no
process waits for another, and a put costs one write: a file for each value would cost ten times as
much, and a hundred times on a file system that avoids recently freed inode numbers. Nothing is
synced to disk: what is lost with the machine is not needed.
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
"""Segments of one process; the oldest is deleted as a whole."""

_HEAD = struct.Struct("<I20sd")
"""Length of the content, name, and time of writing."""
_SUFFIX = ".part"
_CERTAIN_NS = 50_000_000
"""A directory that changed more recently may change again without showing it."""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How many values, how many bytes of them, and for how many seconds they are kept."""

    max_entries: int
    max_bytes: int
    seconds: float

    def per_process(self, processes: int) -> LogBounds:
        """The quota of one of several processes."""
        each = max(1, processes)
        return LogBounds(
            max(SEGMENTS, self.max_entries // each), self.max_bytes // each, self.seconds
        )


@dataclass(slots=True, eq=False)
class _Segment:
    writer: str
    serial: int
    descriptor: int
    created_at: float
    read_offset: int = 0
    """Up to where it was read; for a file of our own, how long it is."""
    newest_at: float = 0.0
    names: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Entry:
    segment: _Segment
    offset: int
    length: int
    written_at: float


class SharedLog:
    """Values below `folder`, a directory of our own; names are 20 bytes. Not thread-safe.

    One of `processes` that write at the same time. The methods raise OSError, also for a
    directory that other users may read or own.
    """

    def __init__(self, folder: Path, bounds: LogBounds, *, processes: int = 1) -> None:
        self._folder = str(folder)
        self._bounds = bounds
        self._quota = bounds.per_process(processes)
        self._writer = secrets.token_hex(8)
        self._serial = 0
        self._entries: dict[bytes, _Entry] = {}
        self._others: dict[str, _Segment] = {}
        self._tails: list[_Segment] = []
        self._own: list[_Segment] = []
        self._listed = -1

    def prepare(self) -> None:
        """Create missing directories, and check that no other user can use them."""
        folder = Path(self._folder)
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=PRIVATE, exist_ok=True)
            status = each.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise PermissionError(errno.EACCES, "not a directory of ours", str(each))
            if status.st_mode & 0o077:
                raise PermissionError(errno.EACCES, "others may use the directory", str(each))

    def get(self, name: bytes) -> bytes | None:
        """The value written last under this name, by any process; None when expired."""
        self._refresh()
        entry = self._entries.get(name)
        if entry is None or time.time() - entry.written_at > self._bounds.seconds:
            return None
        content = os.pread(entry.segment.descriptor, entry.length, entry.offset)
        return content if len(content) == entry.length else None

    def put(self, name: bytes, content: bytes) -> None:
        """Write a value, which is not empty, in place of the one before.

        A value longer than a segment may be is not written.
        """
        size = _HEAD.size + len(content)
        if size > self._quota.max_bytes // SEGMENTS:
            return
        now = time.time()
        segment = self._writable_segment(size, now)
        try:
            written = os.writev(segment.descriptor, (_HEAD.pack(len(content), name, now), content))
        except OSError:
            self._serial += 1
            raise
        if written != size:
            # No reader goes past half a record: the next one begins a new file.
            self._serial += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._add(
            segment, name, _Entry(segment, segment.read_offset + _HEAD.size, len(content), now)
        )
        segment.read_offset += size

    def sweep(self) -> None:
        """Delete segments beyond the bounds, also those of processes that are gone."""
        now = time.time()
        self._drop_expired(now)
        status: list[tuple[float, int, str]] = []
        for file in self._files():
            with suppress(FileNotFoundError):
                seen = os.stat(file)  # noqa: PTH116
                status.append((seen.st_mtime, seen.st_size, file))
        total = 0
        for written_at, size, file in sorted(status, reverse=True):
            total += size
            if now - written_at > self._bounds.seconds or total > self._bounds.max_bytes:
                with suppress(FileNotFoundError):
                    os.unlink(file)  # noqa: PTH108
        self._refresh()

    def _refresh(self) -> None:
        try:
            changed = os.stat(self._folder).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            # The cache was deleted.
            self.prepare()
            changed, self._listed = 0, -1
        if changed != self._listed:
            self._refresh_segments()
            self._listed = changed if time.time_ns() - changed > _CERTAIN_NS else -1
        for segment in self._tails:
            size = os.fstat(segment.descriptor).st_size
            if size > segment.read_offset:
                self._read(segment, size)

    def _refresh_segments(self) -> None:
        """Open new segments, and close deleted ones."""
        names = self._files()
        there = set(names)
        for file in [file for file in self._others if file not in there]:
            self._close_segment(self._others.pop(file))
        for segment in [segment for segment in self._own if self._file(segment) not in there]:
            self._own.remove(segment)
            self._close_segment(segment)
        for file in names:
            writer, _, serial = Path(file).stem.partition(".")
            if file in self._others or writer == self._writer or not serial.isdigit():
                continue
            with suppress(FileNotFoundError):
                descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                self._others[file] = _Segment(writer, int(serial), descriptor, created_at=0.0)
        newest: dict[str, int] = {}
        for segment in self._others.values():
            newest[segment.writer] = max(segment.serial, newest.get(segment.writer, 0))
            self._read(segment, os.fstat(segment.descriptor).st_size)
        self._tails = [
            segment for segment in self._others.values() if segment.serial == newest[segment.writer]
        ]

    def _read(self, segment: _Segment, size: int) -> None:
        offset = segment.read_offset
        while offset + _HEAD.size <= size:
            head = os.pread(segment.descriptor, _HEAD.size, offset)
            length, name, written_at = _HEAD.unpack(head)
            offset += _HEAD.size
            if not length or offset + length > size:
                break  # It is being written, or was cut short for ever.
            self._add(segment, name, _Entry(segment, offset, length, written_at))
            offset += length
            segment.read_offset = offset

    def _add(self, segment: _Segment, name: bytes, entry: _Entry) -> None:
        segment.names.append(name)
        segment.newest_at = max(segment.newest_at, entry.written_at)
        known = self._entries.get(name)
        if known is None or known.written_at <= entry.written_at:
            self._entries[name] = entry

    def _writable_segment(self, size: int, now: float) -> _Segment:
        share = self._quota
        segment = self._own[-1] if self._own else None
        if (
            segment is not None
            and segment.serial == self._serial
            and segment.read_offset + size <= share.max_bytes // SEGMENTS
            and len(segment.names) < share.max_entries // SEGMENTS
            and now - segment.created_at <= share.seconds / SEGMENTS
        ):
            return segment
        self._serial += 1
        segment = _Segment(self._writer, self._serial, -1, created_at=now)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            segment.descriptor = os.open(self._file(segment), flags, 0o600)
        except FileNotFoundError:
            self.prepare()
            segment.descriptor = os.open(self._file(segment), flags, 0o600)
        self._own.append(segment)
        self._drop_expired(now)
        return segment

    def _drop_expired(self, now: float) -> None:
        """Delete our oldest segments, by number and by age."""
        while len(self._own) > SEGMENTS or (
            self._own
            and self._own[0].newest_at
            and now - self._own[0].newest_at > self._bounds.seconds
        ):
            segment = self._own.pop(0)
            with suppress(FileNotFoundError):
                os.unlink(self._file(segment))  # noqa: PTH108
            self._close_segment(segment)

    def _close_segment(self, segment: _Segment) -> None:
        os.close(segment.descriptor)
        for name in segment.names:
            entry = self._entries.get(name)
            if entry is not None and entry.segment is segment:
                del self._entries[name]
        self._tails = [each for each in self._tails if each is not segment]

    def _files(self) -> list[str]:
        return [
            f"{self._folder}/{name}"
            for name in os.listdir(self._folder)  # noqa: PTH208
            if name.endswith(_SUFFIX)
        ]

    def _file(self, segment: _Segment) -> str:
        return f"{self._folder}/{segment.writer}.{segment.serial}{_SUFFIX}"
