"""Log records as JSON objects, one a line, written by a thread of their own.

Whoever logs only leaves a line to be written: neither the event loop nor the thread of a guest
waits for whoever reads standard output, and a reader that is slow or gone stops nobody.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import select
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue

MOST_WAITING = 10_000
"""Lines kept while nobody reads; later ones are lost, and counted."""

_BATCH_SECONDS = 0.02
_PATIENCE_SECONDS = 2.0
_DIRECT_PATIENCE_MS = 1000

encode = json.JSONEncoder(default=str).encode


class JsonLines(logging.Formatter):
    """Formats a record as one line; `extra={"fields": {…}}` adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = _Clock()

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC, milliseconds), level, event, fields, and a traceback if there is one."""
        when = f"{self._clock.of(int(record.created))}.{int(record.msecs):03}Z"
        level = record.levelname.lower()
        if (rest := getattr(record, "rest", None)) is not None:
            # Encoded already, by somebody who says the same again and again.
            return _line(when, level, record.msg, rest)
        line: dict[str, object] = {
            "time": when,
            "level": level,
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line.update(fields)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return encode(line)


def _line(when: str, level: str, event: str, rest: str) -> str:
    """A line whose other fields, `rest`, are encoded already."""
    return f'{{"time": "{when}", "level": "{level}", "event": "{event}", {rest}}}'


class _Clock:
    """Seconds as text, which many lines share."""

    def __init__(self) -> None:
        self._second = (0, "")

    def of(self, second: int) -> str:
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return text


class Batches(logging.Handler):
    """Writes the lines of a few milliseconds at once to a file descriptor.

    Lines may come from any thread. The main thread writes its own as long as it runs no event
    loop, so that a process that only watches others needs no second thread; the first line of
    anybody else starts the writer. Processes forked from this one take turns, since the system
    keeps a long write together only while there is room in the pipe. `flush` waits for two
    seconds at most, and is what `logging.shutdown` calls at the end of the process.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._clock = _Clock()
        self._turn = os.memfd_create("journal")
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record; without the lock of the base class, for nothing here needs it."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Leave a line to be written. Never waits, and never raises."""
        try:
            line = f"{self.format(record)}\n".encode()
        except Exception:
            self._lose()
            return
        self._leave(line)

    def say(self, event: str, rest: str) -> None:
        """Leave a line of level info whose other fields are encoded already, and never raise.

        For what is said thousands of times a second: a record costs three times as much.
        """
        now = time.time()
        when = f"{self._clock.of(int(now))}.{int(now % 1 * 1000):03}Z"
        self._leave(f"{_line(when, 'info', event, rest)}\n".encode())

    def _leave(self, line: bytes) -> None:
        if self._writer is None:
            if _alone():
                self._write_now(line)
                return
            self._start()
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(line)
        else:
            self._lose()

    def flush(self) -> None:
        """Wait until all that was said so far is written, or two seconds have passed."""
        if self._writer is not None and self._writer.is_alive():
            written = threading.Event()
            self._waiting.put(written)
            written.wait(_PATIENCE_SECONDS)

    def _begin(self) -> None:
        """Begin with nothing; a forked process has no writer, and its parent says the rest."""
        self._waiting: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._changing = threading.Lock()
        self._lost = 0
        self._stuck = False

    def _lose(self) -> None:
        with self._changing:
            self._lost += 1

    def _start(self) -> None:
        with self._changing:
            if self._writer is None:
                writer = threading.Thread(target=self._write, name="journal", daemon=True)
                writer.start()
                self._writer = writer

    def _write_now(self, line: bytes) -> None:
        """Write in the thread that speaks; once there was no room for a second, without waiting."""
        with suppress(OSError):
            if _has_room(self._descriptor, 0 if self._stuck else _DIRECT_PATIENCE_MS):
                self._stuck = False
                _put(self._descriptor, line)
            else:
                self._stuck = True
                self._lose()

    def _write(self) -> None:
        while True:
            item: bytes | threading.Event | None = self._waiting.get()
            if isinstance(item, bytes):
                time.sleep(_BATCH_SECONDS)
            lines: list[bytes] = []
            waiting: list[threading.Event] = []
            while item is not None:
                if isinstance(item, bytes):
                    lines.append(item)
                else:
                    waiting.append(item)
                item = self._next()
            # Nobody may be left to read: no reason to fail.
            with suppress(OSError):
                self._write_in_turn(b"".join(lines))
            for event in waiting:
                event.set()

    def _write_in_turn(self, lines: bytes) -> None:
        fcntl.lockf(self._turn, fcntl.LOCK_EX)
        try:
            _put(self._descriptor, lines)
            if self._lost:
                _put(self._descriptor, self._complaint())
        finally:
            fcntl.lockf(self._turn, fcntl.LOCK_UN)

    def _complaint(self) -> bytes:
        with self._changing:
            lost, self._lost = self._lost, 0
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, "lines lost", (), None)
        record.fields = {"lines": lost}
        return f"{self.format(record)}\n".encode()

    def _next(self) -> bytes | threading.Event | None:
        try:
            return self._waiting.get_nowait()
        except Empty:
            return None


def _alone() -> bool:
    """Whether this is the main thread, before or after its event loop."""
    return (
        threading.current_thread() is threading.main_thread()
        and asyncio._get_running_loop() is None
    )


def _has_room(descriptor: int, milliseconds: int | None) -> bool:
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return bool(room.poll(milliseconds))


def _put(descriptor: int, content: bytes) -> None:
    """Write everything, however long it takes. Raises OSError."""
    left = memoryview(content)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            _has_room(descriptor, None)
