"""Reads the log of a process: the file that its supervisor writes, and the one before it."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Final

from algaenv.model.log import MAX_LINE_BYTES, LogLine

_POLL_SECONDS: Final = 0.1
_BLOCK_BYTES: Final = 64 * 1024
_OURS: Final = b"[algaenv] "
"""Begins the lines of the supervisor; a time of ISO 8601 follows."""
_LOST: Final = "the log was replaced more than once since it was read: lines may be missing here"


class ProcessLogReader:
    """Implements LogReader over `path`, and `path.1` as long as that is there.

    The supervisor starts a new file when the service starts and when the file is full. A file that
    is open is read to its end, even after it has got another name. The files have no times but
    those that services write: a kept line gets that of the supervisor's line above it, a new one
    the present.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.1")
        self._file: BufferedReader | None = None
        self._pending = b""
        """A line whose end has not been written yet."""
        self._at: float | None = None
        """The time of the last line of the supervisor."""
        self._following = False
        self._closed = False

    def kept(self, last: int | None, since: float | None) -> Iterator[LogLine]:
        """See LogReader. Lines of the file before are read first; `since` is not looked at."""
        previous, current = _open(self._previous), _open(self._path)
        if previous and current and os.path.samestat(_stat(previous), _stat(current)):
            # It was renamed between the two calls, and the new one is not there yet.
            current.close()
            current = None
        self._file = current or previous
        skipped = _offsets((previous, current), last)
        for file, offset in zip((previous, current), skipped, strict=True):
            if file is None:
                continue
            if offset is None:
                file.seek(0, os.SEEK_END)
            else:
                self._line(file.readline(MAX_LINE_BYTES))  # For its time.
                file.seek(offset)
                yield from self._begin(file)
                yield from self._lines(file)
            if file is not self._file:
                file.close()

    def follow(self, stop: Callable[[], bool]) -> Iterator[LogLine]:
        """See LogReader."""
        self._following = True
        try:
            while not (stop() or self._closed):
                found = False
                if self._file is not None:
                    for line in self._lines(self._file):
                        found = True
                        yield line
                if self._replaced():
                    yield from self._next_file()
                elif not found:
                    time.sleep(_POLL_SECONDS)
        finally:
            self._close_file()

    def unfinished(self) -> Iterator[LogLine]:
        """See LogReader."""
        if self._pending:
            yield self._line(self._pending)
            self._pending = b""

    def close(self) -> None:
        """See LogReader."""
        self._closed = True
        if not self._following:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self, file: BufferedReader) -> Iterator[LogLine]:
        """The whole lines up to the end of the file."""
        while block := file.read(_BLOCK_BYTES):
            *lines, rest = (self._pending + block).split(b"\n")
            # Of a line without an end no more is kept than is shown.
            self._pending = rest[: MAX_LINE_BYTES + 1]
            for line in lines:
                yield self._line(line)

    def _line(self, content: bytes) -> LogLine:
        text = content[:MAX_LINE_BYTES].decode(errors="replace").rstrip("\r\n")
        if content.startswith(_OURS):
            with contextlib.suppress(ValueError):
                self._at = datetime.fromisoformat(text.split(" ", 2)[1]).timestamp()
        at = time.time() if self._following else self._at
        cut = len(content) > MAX_LINE_BYTES
        return LogLine(text, at, cut=cut, approximate=not self._following)

    def _replaced(self) -> bool:
        try:
            now = self._path.stat()
        except OSError:
            return False
        return self._file is None or not os.path.samestat(now, _stat(self._file))

    def _next_file(self) -> Iterator[LogLine]:
        """Go on with the file that took the place of the open one."""
        before = self._file
        newer = _open(self._path)
        if newer is None:
            return
        if before is not None:
            # What was written to it before it was renamed.
            yield from self._lines(before)
            previous = _open(self._previous)
            if previous is not None and not any(
                os.path.samestat(_stat(previous), _stat(it)) for it in (before, newer)
            ):
                yield from self.unfinished()
                yield LogLine("", time.time(), gap=_LOST)
                yield from self._lines(previous)
            if previous is not None:
                previous.close()
            before.close()
        self._file = newer
        yield from self._begin(newer)

    def _begin(self, file: BufferedReader) -> Iterator[LogLine]:
        """A full file may end within a line, which goes on in the next one.

        A service that was started writes no end to what the one before has left.
        """
        if self._pending and file.peek(len(_OURS)).startswith(_OURS):
            yield from self.unfinished()


def _open(path: Path) -> BufferedReader | None:
    with contextlib.suppress(OSError):
        return path.open("rb")
    return None


def _stat(file: BufferedReader) -> os.stat_result:
    return os.fstat(file.fileno())


def _offsets(
    files: tuple[BufferedReader | None, BufferedReader | None], last: int | None
) -> list[int | None]:
    """Where to begin in each file so that `last` lines follow; None for nothing of it."""
    if last is None:
        return [0, 0]
    offsets: list[int | None] = [None, None]
    for index in (1, 0):
        file = files[index]
        if file is None or not last:
            continue
        offsets[index], found = _tail_offset(file, last)
        last -= found
    return offsets


def _tail_offset(file: BufferedReader, last: int) -> tuple[int, int]:
    """The offset of the last lines, and how many there are, at most `last`."""
    end = file.seek(0, os.SEEK_END)
    position, found = end, 0
    while position:
        size = min(_BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            if position + at == end - 1:
                continue  # It ends the last line.
            found += 1
            if found == last:
                file.seek(0)
                return position + at + 1, last
    file.seek(0)
    return 0, found + (1 if end else 0)
