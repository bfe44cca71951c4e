"""Bundles from any HTTP server that holds them under their keys, asked for plainly."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import quote

import anyio

from algaenv.runner.outbound import Outbound
from algaenv.runner.source import Source
from algaenv.runner.store import CHUNK_BYTES, PROBE_SECONDS, Reach, StoreError

_SERVER_ERROR = 500


class UnsignedStore:
    """Reads `{base}/{key}` without credentials: a public bucket, or a file server."""

    def __init__(self, source: Source, outbound: Outbound) -> None:
        self._base = source.url
        self._outbound = outbound

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes, as they are on the wire. Raises StoreError."""
        import httpx

        client = await self._outbound.client()
        try:
            url = f"{self._base}/{quote(key, safe='/')}"
            async with client.stream("GET", url, follow_redirects=True) as answer:
                if not answer.is_success:
                    raise StoreError(f"{answer.status_code} {answer.reason_phrase}".strip())
                async for chunk in answer.aiter_raw(CHUNK_BYTES):
                    yield chunk
        except (httpx.HTTPError, httpx.InvalidURL):
            # The library's own text may hold the address, and an address may hold a password.
            raise StoreError("no answer, or one that was cut short") from None

    async def reach(self) -> Reach:
        """Any answer that does not admit failure counts: a bucket may hide its root."""
        import httpx

        client = await self._outbound.client()
        try:
            with anyio.fail_after(PROBE_SECONDS):
                answer = await client.head(self._base, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return Reach.UNREACHABLE
        return Reach.UNREACHABLE if answer.status_code >= _SERVER_ERROR else Reach.OK
