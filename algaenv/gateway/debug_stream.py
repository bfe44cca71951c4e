"""`/api/ext-debug/stream`: what guests log, from the Redis stream that runners write to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from algaenv.gateway.events import SSE_ID, sse_response
from algaenv.gateway.javascript import iso_timestamp, parse_json, trim
from algaenv.gateway.policy import unknown_user
from algaenv.gateway.responses import plain_json
from algaenv.gateway.settings import MAX_TAIL
from algaenv.gateway.state import AppState
from algaenv.serving.redis_client import NoRedis, RedisClient
from algaenv.serving.request_limits import (
    BodyTooLarge,
    BodyTooSlow,
    body_timeout_response,
    read_body,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

_UNAVAILABLE = {"error": "debug_stream_unavailable"}
_BLOCK_MS = 1_000
_BATCH_SIZE = 100
_MAX_BODY_BYTES = 64 * 1024
_FIRST = "0"
_TAIL_DIGITS = len(str(MAX_TAIL)) + 1
_ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_FIELDS = {
    "installId": "install",
    "requestId": "request",
    "versionId": "version",
    "contentHash": "content_hash",
}
"""Those of an event that are not there when the entry does not have them."""
_FILTERS = ("installId", "requestId")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which entries, and what stands for fields that one does not have."""

    key: str
    extension: str
    tenant: str
    filters: Mapping[str, str]
    """Name of an event's field → its value in lower case."""


class DebugStreamEndpoint:
    """Answers with the entries of one extension; `installId` and `requestId` narrow them.

    GET goes on for ever, after as many entries of the past as `tail` says. POST answers with those
    after `lastId` of its body.
    """

    def __init__(self, state: AppState, redis: RedisClient) -> None:
        self._state = state
        self._redis = redis

    async def respond(self, request: Request) -> Response:
        """400 without `extensionId`, 401, 403, 503 without a Redis that answers."""
        import redis

        state, query = self._state, request.query_params
        extension = query.get("extensionId", "")
        if not extension:
            return plain_json(400, {"error": "extensionId is required"})
        user = state.users.select(request.headers, query, request.cookies)
        if user is None:
            return plain_json(401, unknown_user(state.users.all).body)
        allowed = user.permissions | state.settings.checks_off
        if user.is_client or "extension:read" not in allowed:
            return plain_json(403, {"error": "Forbidden"})
        settings = state.config.debug_stream
        if settings is None:
            return plain_json(503, _UNAVAILABLE)
        try:
            client = self._redis.client()
            await client.ping()
        except (NoRedis, redis.RedisError, OSError):
            return plain_json(503, _UNAVAILABLE)
        tenant = query.get("tenantId") or state.tenant
        wanted = _Wanted(
            settings.prefix + f"{tenant}:{extension}".lower(),
            extension,
            tenant,
            {name: it.lower() for name in _FILTERS if (it := trim(query.get(name, "")))},
        )
        if request.method == "POST":
            try:
                body = await read_body(request, _MAX_BODY_BYTES)
            except BodyTooLarge:
                return plain_json(413, {"error": "payload_too_large"})
            except BodyTooSlow:
                return body_timeout_response()
            return await _poll(client, wanted, body)
        last = request.headers.get("last-event-id", "")
        tail = _tail(query, settings.tail)
        return sse_response(self._entries(client, wanted, tail, last))

    async def _entries(
        self, client: Redis, wanted: _Wanted, tail: int, last: str
    ) -> AsyncIterator[dict[str, object]]:
        import redis

        key = wanted.key
        try:
            if not _ENTRY_ID.fullmatch(last):
                past: Any = await client.xrevrange(key, count=max(tail, 1))
                last = past[0][0] if past else _FIRST
                for entry in reversed(past[:tail]):
                    if event := _event(entry, wanted):
                        yield event
            while not self._state.events.closed:
                found: Any = await client.xread({key: last}, count=_BATCH_SIZE, block=_BLOCK_MS)
                for entry in found[0][1] if found else ():
                    last = entry[0]
                    if event := _event(entry, wanted):
                        yield event
        except (redis.RedisError, OSError):
            # The browser reconnects by itself, and gets 503 while Redis does not answer.
            return


async def _poll(client: Redis, wanted: _Wanted, body: bytes) -> Response:
    """Those after `lastId` of the body, a hundred at most."""
    import redis

    try:
        given: Any = parse_json(body)
    except (ValueError, RecursionError):
        given = {}
    last = given.get("lastId") if isinstance(given, dict) else None
    last = last or _FIRST
    try:
        if given is None or not isinstance(last, str):
            raise redis.DataError
        found: Any = await client.xread({wanted.key: last}, count=_BATCH_SIZE)
    except (redis.RedisError, OSError):
        return plain_json(500, {"error": "Internal error"})
    events = []
    for entry in found[0][1] if found else ():
        last = _text(entry[0])
        if event := _event(entry, wanted):
            del event[SSE_ID]
            events.append(event)
    return plain_json(200, {"events": events, "lastId": last})


def _tail(query: Mapping[str, str], usual: int) -> int:
    text = query.get("tail", "")
    if not (text.isascii() and text.isdigit()):
        return usual
    # Python reads no number of more than 4,300 digits.
    return min(int(text.lstrip("0")[:_TAIL_DIGITS] or "0"), MAX_TAIL)


def _event(entry: Any, wanted: _Wanted) -> dict[str, object] | None:
    """An entry as the product tells it, with its id; None when it is not wanted."""
    id_, fields = entry
    values = {_text(name): _text(value) for name, value in fields.items()}
    event: dict[str, object] = {
        SSE_ID: _text(id_),
        "ts": values.get("ts") or iso_timestamp(datetime.now(UTC)),
        "level": values.get("level") or "info",
        "stream": values.get("stream") or "log",
        "tenantId": values.get("tenant") or wanted.tenant,
        "extensionId": values.get("extension") or wanted.extension,
        **{name: value for name, it in _FIELDS.items() if (value := values.get(it))},
        "message": values.get("message", ""),
        "truncated": values.get("truncated") in {"1", "true"},
    }
    for name, value in wanted.filters.items():
        if str(event.get(name, "")).lower() != value:
            return None
    return event


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
