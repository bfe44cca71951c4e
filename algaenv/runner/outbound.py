"""The client for plain HTTP questions, made off the event loop.

Importing the client library and reading the certificates of this system take longer than many
requests; a thread does it while the service is already listening.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class Outbound:
    """Hands out one shared client; close it at the end."""

    def __init__(self) -> None:
        self._making: asyncio.Task[httpx.AsyncClient] | None = None

    def begin(self) -> None:
        """Start making the client; needs a running loop."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(_make))

    async def client(self) -> httpx.AsyncClient:
        """Wait until the client is made, the first time, and return it."""
        self.begin()
        assert self._making is not None  # noqa: S101
        return await asyncio.shield(self._making)

    async def aclose(self) -> None:
        """Close the connections kept open."""
        if self._making is not None:
            await (await self._making).aclose()


def _make() -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(
        timeout=httpx.Timeout(60.0, connect=5.0),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        headers={"accept": "*/*", "accept-encoding": "identity", "user-agent": "algaenv-runner"},
    )
