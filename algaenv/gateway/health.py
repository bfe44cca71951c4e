"""`/healthz` and `/readyz`: whether the process lives, and whether all it needs answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
from starlette.requests import Request
from starlette.responses import Response

from algaenv import __version__
from algaenv.gateway.db import acquire
from algaenv.gateway.http_client import OutboundClient
from algaenv.gateway.responses import json_response
from algaenv.gateway.state import AppState
from algaenv.serving.redis_client import RedisClient

ANSWER_SECONDS = 3.0

_OK = 200


class HealthEndpoints:
    """Asks the database, the runner and Redis, all at once."""

    def __init__(self, state: AppState, outbound: OutboundClient, redis: RedisClient) -> None:
        self._state = state
        self._outbound = outbound
        self._redis = redis

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        """200 as long as the process can say so."""
        return json_response(200, {"status": "ok", "version": __version__})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """200 when all answer, else 503; the state of each is `ok`, `off` or an error."""
        names = ("database", "runner", "redis")
        checks = (self._database, self._runner, self._stream)
        states = await asyncio.gather(*(_checked(check) for check in checks))
        ready = all(state in {"ok", "off"} for state in states)
        return json_response(
            200 if ready else 503, {"ready": ready, **dict(zip(names, states, strict=True))}
        )

    async def _database(self) -> str:
        async with acquire(self._state.pool, ANSWER_SECONDS / 2) as connection:
            await connection.execute("SELECT 1 FROM tenant_extension_install LIMIT 1")
        return "ok"

    async def _runner(self) -> str:
        client = await self._outbound.client()
        answer = await client.get(f"{self._state.config.runner_url}/healthz")
        return "ok" if answer.status_code == _OK else f"status {answer.status_code}"

    async def _stream(self) -> str:
        if not self._redis.configured:
            return "off"
        await self._redis.client().ping()
        return "ok"


async def _checked(check: Callable[[], Awaitable[str]]) -> str:
    try:
        with anyio.fail_after(ANSWER_SECONDS):
            return await check()
    except Exception as error:
        # Only the kind: words of these libraries may repeat a password.
        return type(error).__name__
