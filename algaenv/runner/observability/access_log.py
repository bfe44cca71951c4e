"""The log of the service: one JSON object a line on standard output, and a line for each request.

A line about a request names the tenant, the extension and the outcome. No line holds a key, a
query or an address of the store.

Logging only queues a line: neither the event loop nor the thread of a guest waits for the reader
of standard output, and a reader that is slow or gone stops neither.
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
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from algaenv.runner.http import request_header

MAX_QUEUED_LINES = 10_000
"""Lines kept while the reader is stuck; later ones are lost, and counted."""

_BATCH_SECONDS = 0.02
_FLUSH_TIMEOUT_SECONDS = 2.0
_DIRECT_TIMEOUT_MS = 1000

_encode = json.JSONEncoder(default=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a record as one line; `extra={"fields": {…}}` adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC, milliseconds), level, event, fields, and a traceback if there is one."""
        line: dict[str, object] = {
            "time": f"{self._format_second(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line.update(fields)
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


class BatchingHandler(logging.Handler):
    """Writes the lines of a few milliseconds at once to a file descriptor.

    Lines may come from any thread. The main thread writes its own as long as it runs no event
    loop, so that a process that only watches others needs no second thread; the first line of
    any other thread starts the writer. Processes forked from this one take turns, since the system
    keeps a long write together only while it fits into the pipe. `flush` waits for two
    seconds at most, and is what `logging.shutdown` calls at the end of the process.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lock_file = os.memfd_create("log-lock")
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record; without the lock of the base class, for nothing here needs it."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line. Never waits, and never raises."""
        try:
            line = f"{self.format(record)}\n".encode()
        except Exception:
            self._count_lost()
            return
        self._enqueue(line)

    def _enqueue(self, line: bytes) -> None:
        if self._writer is None:
            if _is_main_thread_without_loop():
                self._write_directly(line)
                return
            self._start()
        if self._queue.qsize() < MAX_QUEUED_LINES:
            self._queue.put(line)
        else:
            self._count_lost()

    def flush(self) -> None:
        """Wait until every line so far is written, or two seconds have passed."""
        if self._writer is not None and self._writer.is_alive():
            written = threading.Event()
            self._queue.put(written)
            written.wait(_FLUSH_TIMEOUT_SECONDS)

    def _reset(self) -> None:
        """Reset; a forked process has no writer, and its parent writes the lines queued before."""
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._lock = threading.Lock()
        self._lost = 0
        self._stuck = False

    def _count_lost(self) -> None:
        with self._lock:
            self._lost += 1

    def _start(self) -> None:
        with self._lock:
            if self._writer is None:
                writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
                writer.start()
                self._writer = writer

    def _write_directly(self, line: bytes) -> None:
        """Write in the calling thread; after one second with a full pipe, no longer wait."""
        with suppress(OSError):
            if _has_room(self._descriptor, 0 if self._stuck else _DIRECT_TIMEOUT_MS):
                self._stuck = False
                _write_all(self._descriptor, line)
            else:
                self._stuck = True
                self._count_lost()

    def _write(self) -> None:
        while True:
            item: bytes | threading.Event | None = self._queue.get()
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
            # The reader may be gone: no reason to fail.
            with suppress(OSError):
                self._write_locked(b"".join(lines))
            for event in waiting:
                event.set()

    def _write_locked(self, lines: bytes) -> None:
        fcntl.lockf(self._lock_file, fcntl.LOCK_EX)
        try:
            _write_all(self._descriptor, lines)
            if self._lost:
                _write_all(self._descriptor, self._lost_lines_warning())
        finally:
            fcntl.lockf(self._lock_file, fcntl.LOCK_UN)

    def _lost_lines_warning(self) -> bytes:
        with self._lock:
            lost, self._lost = self._lost, 0
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, "lines lost", (), None)
        record.fields = {"lines": lost}
        return f"{self.format(record)}\n".encode()

    def _next(self) -> bytes | threading.Event | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None


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


ENTRY = "algaenv.runner.log_entry"
"""Where in the scope of a request its line is kept."""

_requests = logging.getLogger("algaenv.runner.request")
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_QUIET = frozenset(("/healthz", "/readyz", "/metrics"))
_MAX_CHARS = 300
_SERVER_ERROR = 500


def configure_logging(level: str) -> None:
    """Send all logging of this process to standard output; an unknown level means info."""
    handler = BatchingHandler(sys.stdout.fileno())
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=_LEVELS.get(level, logging.INFO), force=True)
    # No line names them, and to find them out costs more than the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for chatty in ("uvicorn", "httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@dataclass(slots=True)
class RequestLogEntry:
    """What is known about a request so far; the handler fills in what it learns."""

    tenant: str | None = None
    extension: str | None = None
    hash: str | None = None
    cache: str | None = None
    """`hit`, `miss`, or `spa-fallback` where the index answered for another path."""
    reason: str | None = None
    status: int = 500
    sent: int = 0
    extra: Mapping[str, object] | None = None
    """Further fields, such as the times of a call's parts."""


class AccessLog:
    """Wraps an application and writes a line for each request once it is answered.

    Questions about health are lines of level debug: they come every few seconds, for ever.
    `on_response` is called with the path and the status of every response.
    """

    def __init__(self, app: ASGIApp, on_response: Callable[[str, int], None] | None = None) -> None:
        self._app = app
        self._on_response = on_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = scope[ENTRY] = RequestLogEntry()
        started = time.perf_counter()

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            else:
                entry.sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        finally:
            if self._on_response is not None:
                self._on_response(scope["path"], entry.status)
            _write_entry(scope, entry, time.perf_counter() - started)


def _write_entry(scope: Scope, entry: RequestLogEntry, seconds: float) -> None:
    path = scope["path"]
    level = logging.INFO
    if entry.status >= _SERVER_ERROR:
        level = logging.ERROR
    elif path in _QUIET:
        level = logging.DEBUG
    if not _requests.isEnabledFor(level):
        return
    record = _record(level)
    record.fields = _drop_missing(
        {
            "request_id": request_header(scope, b"x-request-id"),
            "method": scope["method"],
            "path": path,
            "tenant": entry.tenant,
            "extension": entry.extension,
            "hash": entry.hash,
            "cache": entry.cache,
            "why": entry.reason,
            "status": entry.status,
            "duration_ms": round(seconds * 1000, 2),
            "bytes": 0 if scope["method"] == "HEAD" else entry.sent,
            **(entry.extra or {}),
        }
    )
    _requests.handle(record)


def _drop_missing(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value[:_MAX_CHARS] if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }


def _record(level: int) -> logging.LogRecord:
    # Created directly: finding the caller's line of code would cost as much as the rest.
    return logging.LogRecord(_requests.name, level, "", 0, "request", (), None)
