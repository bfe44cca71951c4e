"""Limits of a request: the size and time of its head and of its body.

The server's parser keeps whatever comes until a head is complete, so that one caller could fill the
memory, and delay all others while so many headers are parsed.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers of one request."""
HEAD_SECONDS = 60.0
"""From the first byte of a head to its last, and from connecting to the first head."""

_SEPARATORS = 4
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 26\r\n"
    b"cache-control: no-store\r\nconnection: close\r\n\r\nrequest head above 64 KiB\n"
)


LINGER_SECONDS = 5.0
"""For a client to read the last answer and close, where more of its request was on the way; anew
as long as it reads."""


class LingeringTransport:
    """A connection whose `close` lets the client read the answer to a request that it still sends.

    The kernel resets a connection that is closed with bytes unread, and the client's kernel then
    drops the answer with them: the client would see a broken connection and no refusal.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        is_reading: Callable[[], bool],
    ) -> None:
        """`is_reading` says whether a part of a request is still to come."""
        self._transport = transport
        self._loop = loop
        self._is_reading = is_reading
        self._close: asyncio.TimerHandle | None = None
        self._ending = False
        self.lingering = False
        """No more is sent, and what comes is dropped."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data`, unless the answer has ended."""
        if not self.lingering:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether no more is sent."""
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        """End the answer; close when the client does, or reads none of it for LINGER_SECONDS."""
        if self.is_closing():
            return
        if self._ending or not self._is_reading():
            self._transport.close()
            return
        self.lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._await_client()

    def end(self) -> None:
        """The server ends: linger no more, but send what is written."""
        self._ending = True
        if self.lingering:
            self._transport.close()

    def closed(self) -> None:
        """The connection is gone."""
        if self._close is not None:
            self._close.cancel()

    def _await_client(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        self._close = self._loop.call_later(LINGER_SECONDS, self._linger_on, unsent)

    def _linger_on(self, unsent: int) -> None:
        # The last part has left this process when nothing is unsent, and may still be on its way.
        if self._transport.get_write_buffer_size() < unsent:
            self._await_client()
        else:
            self._transport.abort()


class HeadTooLarge(Exception):
    """The head of a request is longer than MAX_HEAD_BYTES."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """Answers 431 and closes where a head is too large; closes where one does not come."""

    _in_head = True
    _parsed = 0
    """Bytes of the head in parts that the parser has handed over."""
    _received = 0
    """Bytes that came since the head began, less what the same packet brought before it."""
    _too_large = False
    _deadline: asyncio.TimerHandle | None = None
    _connection: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its first head is due."""
        self._connection = LingeringTransport(transport, self.loop, self._is_reading)
        super().connection_made(cast("asyncio.Transport", self._connection))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._head_complete()
        self._connection.closed()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server ends: wait for no client to end its request."""
        self._connection.end()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._too_large or self._connection.lingering:
            return
        if self._in_head:
            self._received += len(data)
            if self._deadline is None:
                self._expect_head()
        super().data_received(data)
        if self._in_head and self._received > MAX_HEAD_BYTES and not self._too_large:
            self._refuse()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._parsed = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request line is there."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete; those after a body are ignored."""
        self._count(len(name) + len(value) + _SEPARATORS)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._received = False, 0
        self._head_complete()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole, and the next thing is a head."""
        self._in_head, self._received, self._parsed = True, 0, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, unless it was too much of it."""
        if self._too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > MAX_HEAD_BYTES:
            self._too_large = True
            raise HeadTooLarge

    def _refuse(self) -> None:
        self._too_large = True
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _is_reading(self) -> bool:
        """Whether a request has begun that has not come whole."""
        return not self._in_head or self._received > 0

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_complete(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


BODY_SECONDS = 60.0
"""For the whole body to arrive."""


class BodyTooLarge(Exception):
    """The body is longer than its reader takes."""


class BodyTooSlow(Exception):
    """The body did not come within BODY_SECONDS."""


async def read_body(request: Request, max_bytes: float = math.inf) -> bytes:
    """The whole body. Raises BodyTooLarge, BodyTooSlow; the rest of the body is not read then."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise BodyTooLarge
    except TimeoutError:
        raise BodyTooSlow from None
    return bytes(body)


def body_timeout_response() -> Response:
    """The response to a request whose body is too slow; the rest of its body is not read."""
    from starlette.responses import Response

    return Response(status_code=408, headers={"connection": "close"})
