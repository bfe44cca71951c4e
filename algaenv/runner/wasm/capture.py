"""What a guest writes to its standard output and error, line by line and within bounds.

The engine writes to files; these are of memory only, one pair a thread, and used again by the next
call. A guest that writes more than anybody reads loses lines instead of taking memory.
"""

from __future__ import annotations

import os
from typing import Literal

from algaenv.runner.invocation import Invocation, Level

LIMIT = 256 << 10
"""Bytes that are read of a stream in a call; the rest is counted and dropped."""
LINES = 1_000
"""Lines that are passed on of a stream in a call."""
LONGEST_LINE = 8 << 10


class Capture:
    """Both streams of the guest that runs on this thread."""

    def __init__(self) -> None:
        self._streams = (_Stream("stdout", "info"), _Stream("stderr", "error"))

    @property
    def paths(self) -> tuple[bytes, bytes]:
        """The files for output and error."""
        output, error = self._streams
        return output.path, error.path

    def begin(self) -> None:
        """Forget what was there."""
        for stream in self._streams:
            stream.begin()

    def drain(self, invocation: Invocation) -> None:
        """Pass on the lines that have ended since the last time."""
        for stream in self._streams:
            stream.drain(invocation)

    def end(self, invocation: Invocation) -> None:
        """Pass on all that is left, and say what was dropped."""
        for stream in self._streams:
            stream.drain(invocation)
            stream.end(invocation)


class _Stream:
    def __init__(self, name: Literal["stdout", "stderr"], level: Level) -> None:
        self._name, self._level = name, level
        self._file = os.memfd_create(f"guest-{name}", os.MFD_CLOEXEC)
        self.path = f"/proc/self/fd/{self._file}".encode()
        self._reset()

    def begin(self) -> None:
        if self._read or os.fstat(self._file).st_size:
            os.ftruncate(self._file, 0)
            self._reset()

    def _reset(self) -> None:
        self._read, self._left, self._dropped, self._part = 0, LIMIT, 0, b""
        self._lines = LINES

    def drain(self, invocation: Invocation) -> None:
        size = os.fstat(self._file).st_size
        new = size - self._read
        if new <= 0:
            return
        data = os.pread(self._file, min(new, self._left), self._read)
        self._left -= len(data)
        self._dropped += new - len(data)
        self._read = size
        if size > LIMIT:
            # The guest goes on at its own place: what comes before it takes no memory then.
            os.ftruncate(self._file, 0)
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            self._say(invocation, line)
        if len(self._part) > LONGEST_LINE:
            self._say(invocation, self._part)
            self._part = b""

    def end(self, invocation: Invocation) -> None:
        self._say(invocation, self._part)
        if self._dropped:
            self._pass(invocation, f"[{self._dropped} bytes of {self._name} were dropped]")

    def _say(self, invocation: Invocation, line: bytes) -> None:
        line = line.rstrip(b"\r")
        for first in range(0, len(line), LONGEST_LINE):
            part = line[first : first + LONGEST_LINE]
            if self._lines:
                self._lines -= 1
                self._pass(invocation, part.decode("utf-8", "replace"))
            else:
                self._dropped += len(part)

    def _pass(self, invocation: Invocation, text: str) -> None:
        if self._name == "stderr":
            invocation.wrote(text)
        invocation.say(self._name, self._level, text)

    def __del__(self) -> None:
        os.close(self._file)
