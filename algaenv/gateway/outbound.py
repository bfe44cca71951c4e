"""The client for what is not a call, made when it is first needed and closed at the end.

What asks through it is to be cancelled by a scope of anyio and never by its task: the
library shields its own cleaning up from the former only, and leaves connections open otherwise.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from algaenv.gateway.courier import CONNECT_SECONDS, IDLE_SECONDS

if TYPE_CHECKING:
    import httpx

MOST_CONNECTIONS = 256


class Outbound:
    """Hands out one shared client, which keeps no cookie and follows no redirect."""

    def __init__(self) -> None:
        self._making: asyncio.Task[httpx.AsyncClient] | None = None

    def begin(self) -> None:
        """Start making the client, off the event loop; needs a running one."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(_make))

    async def client(self) -> httpx.AsyncClient:
        """The client; the first to ask waits until it is made."""
        self.begin()
        assert self._making is not None  # noqa: S101
        return await asyncio.shield(self._making)

    async def aclose(self) -> None:
        """Close the connections kept open."""
        if self._making is not None:
            await (await self._making).aclose()


def _make() -> httpx.AsyncClient:
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx

    return httpx.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=MOST_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
        ),
        headers={"accept-encoding": "identity", "user-agent": "algaenv-gateway"},
        # Somebody's proxy settings must not lead calls of this machine elsewhere.
        trust_env=False,
    )
