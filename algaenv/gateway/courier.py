"""Carries calls to the runner over connections that are kept open, the last used first.

httpx's pool looks at every open connection for every request, which is two thirds of the time of
a call once there are a dozen. Its own connections, one level below, cost a fifth of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from httpcore import AsyncHTTPConnection

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
"""A connection is not used again after it was idle for so long; our runner keeps them for 75."""
MOST_IDLE = 64


class NotDelivered(Exception):
    """There is no answer; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the runner answered; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Courier:
    """Posts documents to one URL. As many at once as are asked for."""

    def __init__(self, url: str) -> None:
        import httpcore

        self._core = httpcore
        self._url = httpcore.URL(url)
        self._host = urlsplit(url).netloc.rpartition("@")[2].encode()
        self._idle: list[AsyncHTTPConnection] = []

    async def post(self, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a document. Raises NotDelivered; to be cancelled when it takes too long."""
        core = self._core
        asked = core.Request(
            "POST",
            self._url,
            headers=[
                (b"host", self._host),
                (b"content-length", b"%d" % len(content)),
                (b"accept-encoding", b"identity"),
                *((name.encode(), _value(value)) for name, value in headers.items()),
            ],
            content=content,
            extensions={"timeout": {"connect": CONNECT_SECONDS}},
        )
        connection = await self._connection()
        try:
            answer = await connection.handle_async_request(asked)
            body = await answer.aread()
            await answer.aclose()
        except (core.NetworkError, core.ProtocolError, core.TimeoutException, OSError) as error:
            raise NotDelivered(str(error) or type(error).__name__) from None
        finally:
            if connection.is_idle() and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
            else:
                await connection.aclose()
        named = {
            name.lower().decode("latin-1"): value.decode("latin-1")
            for name, value in answer.headers
        }
        return Reply(answer.status, named, body)

    async def aclose(self) -> None:
        """Close the connections kept open."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _connection(self) -> AsyncHTTPConnection:
        while self._idle:
            found = self._idle.pop()
            if found.is_available() and not found.has_expired():
                return found
            await found.aclose()
        return self._core.AsyncHTTPConnection(
            origin=self._url.origin, keepalive_expiry=IDLE_SECONDS
        )


def _value(text: str) -> bytes:
    """The value of a header; it came from a header or from the tables."""
    return text.encode("latin-1", errors="replace")
