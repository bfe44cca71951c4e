"""What the service says about itself: one JSON object a line on standard output.

A line about a request names the tenant, the extension and the outcome. No line holds a key, a
query or an address of the store.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from algaenv.runner.headers import header
from algaenv.runner.lines import Batches, JsonLines, encode

LINE = "algaenv.runner.line"
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
_LONGEST = 300
_SERVER_ERROR = 500

_voices: list[Batches] = []
"""Where lines go past the machinery of logging; empty until the journal is started."""


def start_journal(level: str) -> None:
    """Send all logging of this process to standard output; an unknown level means info."""
    handler = Batches(sys.stdout.fileno())
    handler.setFormatter(JsonLines())
    _voices[:] = [handler]
    logging.basicConfig(handlers=[handler], level=_LEVELS.get(level, logging.INFO), force=True)
    # No line names them, and to find them out costs more than the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for chatty in ("uvicorn", "httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@dataclass(slots=True)
class Line:
    """What is known about a request so far; the handler fills in what it learns."""

    tenant: str | None = None
    extension: str | None = None
    hash: str | None = None
    cache: str | None = None
    """`hit`, `miss`, or `spa-fallback` where the index answered for another path."""
    why: str | None = None
    status: int = 500
    sent: int = 0
    more: Mapping[str, object] | None = None
    """What else the line says, such as the times of a call's parts."""
    asset: object = None
    """The file that was the answer, where the next one to ask may be given it unasked."""


class Journal:
    """Wraps an application and writes a line for each request once it is answered.

    Questions about health are lines of level debug: they come every few seconds, for ever.
    `counted` is told the path and the status of every answer.
    """

    def __init__(self, app: ASGIApp, counted: Callable[[str, int], None] | None = None) -> None:
        self._app = app
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        line = scope[LINE] = Line()
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                line.status = message["status"]
            else:
                line.sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if self._counted is not None:
                self._counted(scope["path"], line.status)
            _write(scope, line, time.perf_counter() - started)


def _write(scope: Scope, line: Line, seconds: float) -> None:
    path = scope["path"]
    level = logging.INFO
    if line.status >= _SERVER_ERROR:
        level = logging.ERROR
    elif path in _QUIET:
        level = logging.DEBUG
    if not _requests.isEnabledFor(level):
        return
    record = _record(level)
    record.fields = _known(
        {
            "request_id": header(scope, b"x-request-id"),
            **_told(scope, line),
            "status": line.status,
            "duration_ms": round(seconds * 1000, 2),
            "bytes": 0 if scope["method"] == "HEAD" else line.sent,
            **(line.more or {}),
        }
    )
    _requests.handle(record)


def said(scope: Scope, line: Line) -> str:
    """What the lines of all requests like this one say, for `say`."""
    return encode(_known({**_told(scope, line), "cache": "hit"}))[1:-1]


def say(told: str, request_id: bytes | None, status: int, sent: int, seconds: float) -> None:
    """Write the line of a request about which the rest is known."""
    if not _requests.isEnabledFor(logging.INFO):
        return
    name = "" if request_id is None else encode(request_id.decode("latin-1")[:_LONGEST])
    first = f'"request_id": {name}, ' if name else ""
    rest = (
        f'{first}{told}, "status": {status}, "duration_ms": {1000 * seconds:.2f}, "bytes": {sent}'
    )
    for voice in _voices:
        voice.say("request", rest)


def _told(scope: Scope, line: Line) -> dict[str, object]:
    return {
        "method": scope["method"],
        "path": scope["path"],
        "tenant": line.tenant,
        "extension": line.extension,
        "hash": line.hash,
        "cache": line.cache,
        "why": line.why,
    }


def _known(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value[:_LONGEST] if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }


def _record(level: int) -> logging.LogRecord:
    # Made by hand: looking up the line of code that says it would cost as much as the rest.
    return logging.LogRecord(_requests.name, level, "", 0, "request", (), None)
