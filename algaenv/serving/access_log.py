"""The log of a service on standard output, and a line for each request once it is answered.

Logging only queues a record: neither the event loop nor another thread waits for the reader of
standard output, and a reader that is slow or gone stops neither.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Generic, Protocol, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from algaenv.system.files import memory_file

MAX_QUEUED_LINES = 10_000
"""Records kept while the reader is stuck; later ones are lost, and counted."""
RECORD = "algaenv.access_record"
"""Where in the scope of a request its record is kept."""
SERVER_ERROR = 500

_BATCH_BYTES = 64 * 1024
"""What a pipe of Linux holds."""
_FLUSH_TIMEOUT_SECONDS = 2.0
_DIRECT_TIMEOUT_MS = 1000
_MAX_CHARS = 300
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_encode = json.JSONEncoder(default=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object; `extra={"fields": {…}}` adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC, milliseconds), level, event, fields, and a traceback if there is one."""
        line: dict[str, object] = {
            "time": f"{self._format_second(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line)

    def _format_second(self, second: int) -> str:
        """Format a second, which many lines share."""
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return text


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """What was passed as `extra={"fields": {…}}`."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def configure_logging(level: str, formatter: logging.Formatter | None = None) -> None:
    """Send all logging of this process to standard output; an unknown level means info."""
    output = _Output(sys.stdout.fileno())
    output.setFormatter(formatter or JsonFormatter())
    logging.basicConfig(
        handlers=[_NonBlockingHandler(output)], level=_LEVELS.get(level, logging.INFO), force=True
    )
    # No line names them, and to find them out costs more than the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for library in ("uvicorn", "httpx", "httpcore", "asyncio", "psycopg"):
        logging.getLogger(library).setLevel(logging.WARNING)


class _NonBlockingHandler(QueueHandler):
    """Leaves records to a thread that writes, which the first record starts.

    The main thread writes its own as long as it runs no event loop, so that a process that only
    watches others needs no second thread. A forked process has no thread and an empty queue.
    `flush`, which ends the process through `logging.shutdown`, waits for two seconds at most.
    """

    queue: Queue[logging.LogRecord]

    def __init__(self, output: _Output) -> None:
        super().__init__(Queue(MAX_QUEUED_LINES))
        self._output = output
        self._listener: QueueListener | None = None
        os.register_at_fork(after_in_child=self._reset)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Called with the lock of the handler."""
        if self._listener is None:
            if _is_main_thread_without_loop():
                self._output.emit_directly(record)
                return
            self._output.more_follows = lambda: not self.queue.empty()
            self._listener = QueueListener(self.queue, self._output)
            self._listener.start()
        try:
            self.queue.put_nowait(record)
        except Full:
            self._output.lost += 1

    def flush(self) -> None:
        with self.queue.all_tasks_done:
            self.queue.all_tasks_done.wait_for(
                lambda: not self.queue.unfinished_tasks, _FLUSH_TIMEOUT_SECONDS
            )

    def _reset(self) -> None:
        self.queue = Queue(MAX_QUEUED_LINES)
        self._listener = None
        self._output.reset()


class _Output(logging.Handler):
    """Writes lines to a file descriptor, those that wait together.

    Each call of the system gives other threads the interpreter, and a busy one may keep it for
    milliseconds: one write for each line would write a few hundred lines a second then.

    Processes forked from this one take turns, since the system keeps a long write together only
    while it fits into the pipe. There is no lock of the base class: the end of the process must not
    wait for a line that cannot be written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lock_file = memory_file("log-lock")
        self._stuck = False
        self._waiting = bytearray()
        self.more_follows: Callable[[], bool] = lambda: False
        """Whether another record is handled soon, and this one may wait for it."""
        self.lost = 0
        self.reported = 0
        """Of those that are lost."""

    def reset(self) -> None:
        """Forget what another process writes: that from which this one was forked."""
        self._waiting.clear()
        self.lost = self.reported = 0

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a line, however long it takes. Never raises."""
        # The reader may be gone, and a field may have no text: no reason to fail.
        with suppress(Exception):
            self._waiting += self._line(record)
        if len(self._waiting) >= _BATCH_BYTES or not self.more_follows():
            with suppress(Exception):
                self._write_waiting()
        return True

    def _write_waiting(self) -> None:
        content = bytes(self._waiting)
        self._waiting.clear()
        fcntl.lockf(self._lock_file, fcntl.LOCK_EX)
        try:
            _write_all(self._descriptor, content)
            if self.lost > self.reported:
                _write_all(self._descriptor, self._lost_lines_warning())
        finally:
            fcntl.lockf(self._lock_file, fcntl.LOCK_UN)

    def emit_directly(self, record: logging.LogRecord) -> None:
        """Write in the calling thread; after one second with a full pipe, no longer wait."""
        with suppress(Exception):
            line = self._line(record)
            if _has_room(self._descriptor, 0 if self._stuck else _DIRECT_TIMEOUT_MS):
                self._stuck = False
                _write_all(self._descriptor, line)
            else:
                self._stuck = True
                self.lost += 1

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="replace")

    def _lost_lines_warning(self) -> bytes:
        lost = self.lost
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, "lines lost", (), None)
        record.fields = {"lines": lost - self.reported}
        self.reported = lost
        return self._line(record)


def _is_main_thread_without_loop() -> bool:
    """Whether this is the main thread, before or after its event loop."""
    return (
        threading.current_thread() is threading.main_thread()
        and asyncio._get_running_loop() is None
    )


def _has_room(descriptor: int, milliseconds: int | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))


def _write_all(descriptor: int, content: bytes) -> None:
    """Write everything, however long it takes. Raises OSError."""
    left = memoryview(content)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            _has_room(descriptor, None)


class AccessRecord(Protocol):
    """What is known about a request so far; the code that serves it fills it in."""

    status: int
    sent: int


R = TypeVar("R", bound=AccessRecord)


class AccessLog(Generic[R]):
    """Wraps an application; `on_end` gets the record of each request, and the seconds it took."""

    def __init__(
        self, app: ASGIApp, new_record: Callable[[], R], on_end: Callable[[Scope, R, float], None]
    ) -> None:
        self._app, self._new_record, self._on_end = app, new_record, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = self._new_record()
        started = time.perf_counter()

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            else:
                record.sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        finally:
            self._on_end(scope, record, time.perf_counter() - started)


def log_fields(
    logger: logging.Logger, level: int, event: str, fields: Mapping[str, object]
) -> None:
    """Log an event with those fields that are known; long texts are cut."""
    if not logger.isEnabledFor(level):
        return
    # Created directly: finding the caller's line of code would cost as much as the rest.
    record = logging.LogRecord(logger.name, level, "", 0, event, (), None)
    record.fields = {
        name: value[:_MAX_CHARS] if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }
    logger.handle(record)
