"""One kept connection to a server of HTTP/1.1: a request goes out in one piece, an answer comes in.

The clients of httpx and httpcore read with a parser in Python and send in pieces, which was half of
what the gateway added to a call; here it is the parser that the server side has as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from algaenv.gateway.hearing import has_spoken

if TYPE_CHECKING:
    import ssl

MOST_BYTES = 64 * 1024 * 1024
"""Of a body, unless told otherwise."""
MOST_HEAD_BYTES = 256 * 1024

_INFORMATIONAL = range(100, 200)


class NotDelivered(Exception):
    """There is no answer; the text is the reason."""


class TooLong(NotDelivered):
    """The answer is longer than whoever asked wants to read; `status` is that of its head."""

    def __init__(self, status: int, most_bytes: int) -> None:
        self.status = status
        super().__init__(f"more than {most_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered; names of headers in lower case, the last value of a name counts."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection(asyncio.Protocol):
    """Asks one thing after the other. Its other methods are for the event loop and the parser."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._parser = HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._in_body = False
        self._most_bytes = MOST_BYTES
        self._head_bytes = 0

    @staticmethod
    async def open(host: str, port: int, tls: ssl.SSLContext | None) -> Connection:
        """Connect. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, host, port, ssl=tls)
        return made

    async def ask(self, request: bytes, most_bytes: int = MOST_BYTES) -> Reply:
        """Send a request. Raises NotDelivered; the connection ends then, and when cancelled."""
        self._most_bytes = most_bytes
        if self._transport is None:
            raise NotDelivered("the connection is closed")
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._transport.write(request)
        try:
            return await waiting
        except BaseException:
            self.abort()
            raise

    def usable(self) -> bool:
        """Whether it can be asked: it is open, and the server has not said that it is not."""
        if self._transport is None or self._transport.is_closing():
            return False
        return not has_spoken(self._transport.get_extra_info("socket").fileno())

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Something came, asked for or not."""
        if self._waiting is None or self._waiting.done():
            self.abort()
            return
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(f"the answer is no HTTP: {error}")
        except HttpParserUpgrade:
            self._fail("the server wants to go on with another protocol")
        if not self._in_body and self._head_bytes > MOST_HEAD_BYTES:
            self._fail("the head of the answer is too long")

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, which is how an answer without a length ends."""
        self._transport = None
        unbounded = self._in_body and not {"content-length", "transfer-encoding"} & {*self._headers}
        if exc is None and unbounded:
            self.on_message_complete()
        else:
            self._fail(str(exc or "the server closed the connection before it had answered"))

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._headers = {}
        self._body = bytearray()
        self._in_body = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is whole."""
        self._headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The body is next."""
        self._in_body = self._parser.get_status_code() not in _INFORMATIONAL
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        if len(self._body) + len(body) > self._most_bytes:
            self._give_up(TooLong(self._parser.get_status_code(), self._most_bytes))
            return
        self._body += body

    def on_message_complete(self) -> None:
        """An answer is whole; one of 1xx only announces it."""
        if not self._in_body:
            return
        self._in_body = False
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            status = self._parser.get_status_code()
            waiting.set_result(Reply(status, self._headers, bytes(self._body)))
        if not self._parser.should_keep_alive():
            self.abort()

    def _fail(self, why: str) -> None:
        self._give_up(NotDelivered(why))

    def _give_up(self, error: NotDelivered) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.abort()
