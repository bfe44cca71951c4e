"""`/api/ext-debug/stream`: what guests log, from the Redis stream that runners write to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from algaenv.gateway.events import sse_response
from algaenv.gateway.policy import unknown_user
from algaenv.gateway.responses import json_response
from algaenv.gateway.settings import MAX_TAIL
from algaenv.gateway.state import AppState
from algaenv.serving.redis_client import NoRedis, RedisClient

if TYPE_CHECKING:
    from redis.asyncio import Redis

_UNAVAILABLE = {"error": "debug_stream_unavailable"}
_BLOCK_MS = 1_000
_BATCH_SIZE = 100
_FILTERS = {"installId": "install", "requestId": "request"}


class DebugStreamEndpoint:
    """Answers with the entries of one extension; `installId` and `requestId` narrow them, and
    `tail` is how many of the past come first."""

    def __init__(self, state: AppState, redis: RedisClient) -> None:
        self._state = state
        self._redis = redis

    async def respond(self, request: Request) -> Response:
        """400 without `extensionId`, 401, 403, 503 without a Redis that answers."""
        import redis

        state, query = self._state, request.query_params
        user = state.users.select(request.headers, query, request.cookies)
        if user is None:
            return json_response(401, unknown_user(state.users.all).body)
        allowed = user.permissions | state.settings.checks_off
        if user.is_client or "extension:read" not in allowed:
            return json_response(403, {"error": "forbidden"})
        extension = query.get("extensionId", "").strip()
        if not extension or "\0" in extension:
            return json_response(400, {"error": "extensionId is required"})
        tenant = state.config.tenant
        if query.get("tenantId", tenant).strip().lower() != tenant:
            return json_response(403, {"error": "tenant_mismatch"})
        settings = state.config.debug_stream
        if settings is None:
            return json_response(503, _UNAVAILABLE)
        found = await state.installs.find(extension)
        named = found.registry_id if found else extension
        try:
            client = self._redis.client()
            await client.ping()
        except (NoRedis, redis.RedisError, OSError):
            return json_response(503, _UNAVAILABLE)
        wanted = {_FILTERS[name]: query[name] for name in _FILTERS if query.get(name)}
        key = f"{settings.prefix}{tenant}:{named}".lower()
        return sse_response(self._entries(client, key, wanted, _tail(query, settings.tail)))

    async def _entries(
        self, client: Redis, key: str, wanted: Mapping[str, str], tail: int
    ) -> AsyncIterator[dict[str, object]]:
        import redis

        try:
            past: Any = await client.xrevrange(key, count=max(tail, 1))
            last = past[0][0] if past else b"0-0"
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


def _tail(query: Mapping[str, str], usual: int) -> int:
    text = query.get("tail", "")
    return min(int(text), MAX_TAIL) if text.isascii() and text.isdigit() else usual


def _event(entry: Any, wanted: Mapping[str, str]) -> dict[str, object] | None:
    id_, fields = entry
    values = {_text(name): _text(value) for name, value in fields.items()}
    if any(values.get(name) != value for name, value in wanted.items()):
        return None
    return {"entry": _text(id_), **values}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
