"""Files of pages that were served a moment ago are served again without asking anybody.

A browser that opens a page, and many that open the same one, ask for the same files within a
second. For so long nothing that decided about the first answer is asked again: who may see the
page, which file it is, and that its bundle is still on disk.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from algaenv.bundle.digest import Digest
from algaenv.runner.observability.access_log import (
    ENTRY,
    RequestLogEntry,
    encode_static_fields,
    write_encoded,
)
from algaenv.runner.pages.assets import IMMUTABLE, Asset

SECONDS = 1.0
HINT_SECONDS = 0.002
"""How long nobody asks again whose page was opened last: less than a browser takes to ask for the
first file of a page it has just been given."""
MAX_ENTRIES = 2_000
_MAX_BYTES = 32 * 1024 * 1024

_Header = tuple[bytes, bytes]
_RequestKey = tuple[bytes, bytes, bytes | None, bytes | None]
"""Path and query as they were sent, and the headers that may tell the tenant."""


@dataclass(slots=True)
class _CachedResponse:
    until: float
    sure_until: float
    etag: bytes
    body: bytes
    ok: list[_Header]
    unchanged: list[_Header]
    path: str
    line: str
    """What a line of the journal says about it, but for the time and the status."""
    hinted: tuple[str, Digest, str] | None
    """Which bundle of which extension, and whose page it was remembered to be."""


class ResponseCache:
    """Wraps an application whose lines name the asset that was the answer.

    `counted` is told the path and the status of every answer that is given here; `hint` tells
    whose page of a bundle was opened last.
    """

    def __init__(
        self,
        app: ASGIApp,
        counted: Callable[[str, int], None],
        hint: Callable[[str, Digest], str],
    ) -> None:
        self._app = app
        self._hint = hint
        self._counted = counted
        self._known: OrderedDict[_RequestKey, _CachedResponse] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        host = tenant = tag = request_id = None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"x-tenant-id":
                tenant = value
            elif name == b"if-none-match":
                tag = value
            elif name == b"x-request-id":
                request_id = value
        question = (scope["raw_path"], scope["query_string"], tenant, host)
        known = self._known.get(question)
        now = time.monotonic()
        if known is None or known.until < now or self._heard_better(known, now):
            await self._app(scope, receive, send)
            self._learn(question, scope)
            return
        if tag is not None and tag == known.etag:
            status, headers, body = 304, known.unchanged, b""
        elif tag is None:
            status, headers, body = 200, known.ok, known.body
        else:
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._counted(known.path, status)
        write_encoded(known.line, request_id, status, len(body), time.monotonic() - now)

    def _heard_better(self, known: _CachedResponse, now: float) -> bool:
        """Whether somebody else opened the page since, where nothing in the request says who."""
        if known.hinted is None or now < known.sure_until:
            return False
        extension, digest, tenant = known.hinted
        if self._hint(extension, digest) != tenant:
            return True
        known.sure_until = now + HINT_SECONDS
        return False

    def _learn(self, question: _RequestKey, scope: Scope) -> None:
        line: RequestLogEntry | None = scope.get(ENTRY)
        asset = line.asset if line is not None else None
        if line is None or not isinstance(asset, Asset) or asset.ok is None or asset.body is None:
            return
        before = self._known.pop(question, None)
        self._bytes += len(asset.body) - (len(before.body) if before else 0)
        self._known[question] = _CachedResponse(
            time.monotonic() + SECONDS,
            0.0,
            asset.etag.encode(),
            asset.body,
            asset.ok.raw_headers,
            asset.unchanged(cache_control=IMMUTABLE).raw_headers,
            scope["path"],
            encode_static_fields(scope, line),
            _hint_of(question, line),
        )
        while len(self._known) > MAX_ENTRIES or self._bytes > _MAX_BYTES:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest.body)


def _hint_of(question: _RequestKey, line: RequestLogEntry) -> tuple[str, Digest, str] | None:
    _, query, tenant, _ = question
    if tenant is not None or b"tenant=" in query:
        return None
    if line.extension is None or line.hash is None or line.tenant is None:
        return None
    return line.extension, Digest(line.hash), line.tenant
