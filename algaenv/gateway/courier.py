"""Carries calls to the runner over connections that are kept open, the last used first."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from algaenv.gateway.connection import MOST_BYTES, Connection, NotDelivered, Reply

if TYPE_CHECKING:
    import ssl

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
"""A connection is not used again after it was idle for so long; our runner keeps them for 75."""
MOST_IDLE = 64

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PORTS = {"http": 80, "https": 443}


class Courier:
    """Posts documents to one URL. As many at once as are asked for."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls: asyncio.Task[ssl.SSLContext] | None = None
        self._encrypted = parts.scheme == "https"
        self._idle: list[tuple[Connection, float]] = []
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\n"
            "accept-encoding: identity\r\n"
        )

    async def post(
        self, content: bytes, headers: Mapping[str, str], most_bytes: int = MOST_BYTES
    ) -> Reply:
        """Send a document. Raises NotDelivered, TooLong for an answer of more than `most_bytes`;
        to be cancelled when it takes too long."""
        fields = "".join(f"{name}: {_value(name, value)}\r\n" for name, value in headers.items())
        head = f"{self._head}content-length: {len(content)}\r\n{fields}\r\n"
        connection = await self._connection()
        reply = await connection.ask(head.encode("latin-1", errors="replace") + content, most_bytes)
        if len(self._idle) < MOST_IDLE:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.abort()
        return reply

    def close(self) -> None:
        """Close the connections kept open."""
        while self._idle:
            self._idle.pop()[0].abort()

    async def _connection(self) -> Connection:
        while self._idle:
            found, since = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and found.usable():
                return found
            found.abort()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await Connection.open(self._host, self._port, await self._context())
        except TimeoutError:
            raise NotDelivered(f"no connection within {CONNECT_SECONDS:g} s") from None
        except (OSError, UnicodeError) as error:
            raise NotDelivered(str(error) or type(error).__name__) from None

    async def _context(self) -> ssl.SSLContext | None:
        if not self._encrypted:
            return None
        if self._tls is None:
            self._tls = asyncio.ensure_future(asyncio.to_thread(_trusting))
        return await asyncio.shield(self._tls)


def _trusting() -> ssl.SSLContext:
    """What httpx trusts, SSL_CERT_FILE included; reading all authorities takes a while."""
    import httpx

    return httpx.create_ssl_context()


def _value(name: str, text: str) -> str:
    """A value from a header or from the tables, which may hold anything. Raises NotDelivered."""
    if _CONTROL.search(text):
        raise NotDelivered(f"the header {name} cannot hold control characters")
    return text
