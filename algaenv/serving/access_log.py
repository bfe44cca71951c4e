"""The access log: one record a request, as JSON or as text. Written by a thread of its own.

No record holds a token, a query or a body.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

from starlette.types import ASGIApp, Message, Receive, Scope, Send

RECORD_KEY = "algaenv.gateway.line"
"""Where in the scope of a request its line is kept."""

MAX_QUEUED = 10_000
"""Records that wait for the writer; later ones are lost."""

_requests = logging.getLogger("algaenv.gateway.request")
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_CALL_PREFIXES = ("/api/ext/", "/api/ext-proxy/")
_MAX_TEXT = 300
_SERVER_ERROR = 500
_encode = json.JSONEncoder(default=str).encode


@dataclass(slots=True)
class AccessRecord:
    """What is known about a request; the code that serves it fills it in."""

    request_id: str | None = None
    extension: str | None = None
    """Its slug."""
    user: str | None = None
    runner_ms: float | None = None
    reason: str | None = None
    status: int = 500
    sent: int = 0


class AccessLog:
    """Wraps an application and writes a line for each request once it is answered.

    Calls of handlers are lines of level info, failures of level error, all else is debug.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = scope[RECORD_KEY] = AccessRecord()
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            else:
                entry.sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _write(scope, entry, time.perf_counter() - started)


def start_logging(level: str, *, text: bool) -> QueueListener:
    """Send all logging of this process to standard output, from a thread; stop it at the end."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    lines: Queue[logging.LogRecord] = Queue(MAX_QUEUED)
    logging.basicConfig(
        handlers=[_NonBlockingHandler(lines)], level=_LEVELS.get(level, logging.INFO), force=True
    )
    for library in ("uvicorn", "httpx", "httpcore", "asyncio", "psycopg"):
        logging.getLogger(library).setLevel(logging.WARNING)
    listener = QueueListener(lines, handler)
    listener.start()
    return listener


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object; `extra={"fields": {…}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC, milliseconds), level, event, fields, and a traceback if there is one."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return _encode(entry)


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """`12:00:01 POST /api/ext/… 200 12.3 ms (runner 9.8 ms) as msp`."""
        fields = dict(_fields(record))
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.name != _requests.name:
            more = " ".join(f"{name}={value}" for name, value in fields.items())
            trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
            return f"{clock} {record.levelname.lower()}: {record.getMessage()} {more}{trace}"
        runner = f" (runner {fields['runner_ms']} ms)" if "runner_ms" in fields else ""
        user = f" as {fields['user']}" if "user" in fields else ""
        reason = f" - {fields['why']}" if "why" in fields else ""
        return (
            f"{clock} {fields['method']} {fields['path']!s:.100} {fields['status']} "
            f"{fields['ms']} ms{runner}{user}{reason}"
        )


class _NonBlockingHandler(QueueHandler):
    """Leaves records to the thread that writes; never waits for it."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(Full):
            self.queue.put_nowait(record)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _write(scope: Scope, entry: AccessRecord, seconds: float) -> None:
    path: str = scope["path"]
    level = logging.DEBUG
    if entry.status >= _SERVER_ERROR:
        level = logging.ERROR
    elif path.startswith(_CALL_PREFIXES):
        level = logging.INFO
    if not _requests.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "request_id": entry.request_id,
        "method": scope["method"],
        "path": path[:_MAX_TEXT],
        "extension": entry.extension,
        "user": entry.user,
        "status": entry.status,
        "ms": round(seconds * 1000, 2),
        "runner_ms": entry.runner_ms,
        "bytes": 0 if scope["method"] == "HEAD" else entry.sent,
        "why": entry.reason[:_MAX_TEXT] if entry.reason else None,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    _requests.log(level, "request", extra={"fields": known})
