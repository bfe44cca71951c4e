"""Files of pages that were served a moment ago are served again without any check.

A browser that opens a page, and many that open the same one, ask for the same files within a
second. For so long nothing that decided about the first response is checked again: who may see the
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
"""How long the hint is not read again: less than a browser takes to ask for the
first file of a page it has just been given."""
MAX_ENTRIES = 2_000
_MAX_BYTES = 32 * 1024 * 1024

_Header = tuple[bytes, bytes]
_RequestKey = tuple[bytes, bytes, bytes | None, bytes | None]
"""Path and query as they were sent, and the headers that may tell the tenant."""


@dataclass(slots=True)
class _CachedResponse:
    until: float
    hint_until: float
    etag: bytes
    body: bytes
    ok: list[_Header]
    not_modified: list[_Header]
    path: str
    entry: str
    """Its log line, but for the time and the status."""
    hint: tuple[str, Digest, str] | None
    """Extension, bundle, and the tenant that the hint named."""


class ResponseCache:
    """Wraps an application whose log entries name the asset that was served.

    `on_response` is called with the path and the status of every response from here; `hint` returns
    the tenant whose page of a bundle was opened last.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_response: Callable[[str, int], None],
        hint: Callable[[str, Digest], str],
    ) -> None:
        self._app = app
        self._hint = hint
        self._on_response = on_response
        self._cache: OrderedDict[_RequestKey, _CachedResponse] = OrderedDict()
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
        key = (scope["raw_path"], scope["query_string"], tenant, host)
        cached = self._cache.get(key)
        now = time.monotonic()
        if cached is None or cached.until < now or self._hint_changed(cached, now):
            await self._app(scope, receive, send)
            self._store(key, scope)
            return
        if tag is not None and tag == cached.etag:
            status, headers, body = 304, cached.not_modified, b""
        elif tag is None:
            status, headers, body = 200, cached.ok, cached.body
        else:
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._on_response(cached.path, status)
        write_encoded(cached.entry, request_id, status, len(body), time.monotonic() - now)

    def _hint_changed(self, cached: _CachedResponse, now: float) -> bool:
        """Whether another tenant opened the page since, where the request does not name one."""
        if cached.hint is None or now < cached.hint_until:
            return False
        extension, digest, tenant = cached.hint
        if self._hint(extension, digest) != tenant:
            return True
        cached.hint_until = now + HINT_SECONDS
        return False

    def _store(self, key: _RequestKey, scope: Scope) -> None:
        entry: RequestLogEntry | None = scope.get(ENTRY)
        asset = entry.asset if entry is not None else None
        if entry is None or not isinstance(asset, Asset) or asset.ok is None or asset.body is None:
            return
        previous = self._cache.pop(key, None)
        self._bytes += len(asset.body) - (len(previous.body) if previous else 0)
        self._cache[key] = _CachedResponse(
            time.monotonic() + SECONDS,
            0.0,
            asset.etag.encode(),
            asset.body,
            asset.ok.raw_headers,
            asset.not_modified(cache_control=IMMUTABLE).raw_headers,
            scope["path"],
            encode_static_fields(scope, entry),
            _hint_of(key, entry),
        )
        while len(self._cache) > MAX_ENTRIES or self._bytes > _MAX_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._bytes -= len(oldest.body)


def _hint_of(key: _RequestKey, entry: RequestLogEntry) -> tuple[str, Digest, str] | None:
    _, query, tenant, _ = key
    if tenant is not None or b"tenant=" in query:
        return None
    if entry.extension is None or entry.hash is None or entry.tenant is None:
        return None
    return entry.extension, Digest(entry.hash), entry.tenant
