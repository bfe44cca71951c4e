"""HTTP clients: one with few parts for calls of handlers, and httpx for everything else.

The clients of httpx and httpcore read with a parser in Python and send in pieces, which was half of
what the gateway added to a call. `HttpConnection` uses the parser that the server side has as well.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from algaenv.gateway.db import is_readable

if TYPE_CHECKING:
    import ssl

    import httpx


MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of a body, by default."""
MAX_HEAD_BYTES = 256 * 1024

_INFORMATIONAL = range(100, 200)


class RequestFailed(Exception):
    """There is no response; the text is the reason."""


class ResponseTooLarge(RequestFailed):
    """The response is longer than the caller's limit; `status` is that of its head."""

    def __init__(self, status: int, max_bytes: int) -> None:
        self.status = status
        super().__init__(f"more than {max_bytes} bytes")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What was answered; names of headers in lower case, the last value of a name counts."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class HttpConnection(asyncio.Protocol):
    """Sends one request after the other. Other methods are for the event loop and the parser."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._pending: asyncio.Future[HttpResponse] | None = None
        self._parser = HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._in_body = False
        self._most_bytes = MAX_BODY_BYTES
        self._head_bytes = 0

    @staticmethod
    async def open(host: str, port: int, tls: ssl.SSLContext | None) -> HttpConnection:
        """Connect. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(HttpConnection, host, port, ssl=tls)
        return connection

    async def send(self, request: bytes, max_bytes: int = MAX_BODY_BYTES) -> HttpResponse:
        """Send a request. Raises RequestFailed; the connection ends then, and when cancelled."""
        self._most_bytes = max_bytes
        if self._transport is None:
            raise RequestFailed("the connection is closed")
        pending: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._pending = pending
        self._transport.write(request)
        try:
            return await pending
        except BaseException:
            self.abort()
            raise

    def is_usable(self) -> bool:
        """Whether it can be asked: it is open, and the server has not said that it is not."""
        if self._transport is None or self._transport.is_closing():
            return False
        return not is_readable(self._transport.get_extra_info("socket").fileno())

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
        if self._pending is None or self._pending.done():
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
        if not self._in_body and self._head_bytes > MAX_HEAD_BYTES:
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
            self._fail_with(ResponseTooLarge(self._parser.get_status_code(), self._most_bytes))
            return
        self._body += body

    def on_message_complete(self) -> None:
        """An answer is whole; one of 1xx only announces it."""
        if not self._in_body:
            return
        self._in_body = False
        pending = self._pending
        if pending is not None and not pending.done():
            status = self._parser.get_status_code()
            pending.set_result(HttpResponse(status, self._headers, bytes(self._body)))
        if not self._parser.should_keep_alive():
            self.abort()

    def _fail(self, reason: str) -> None:
        self._fail_with(RequestFailed(reason))

    def _fail_with(self, error: RequestFailed) -> None:
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(error)
        self.abort()


CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
"""A connection is not used again after it was idle for so long; our runner keeps them for 75."""
MAX_IDLE = 64

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpClient:
    """Posts documents to one URL. As many at once as are asked for."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._tls: asyncio.Task[ssl.SSLContext] | None = None
        self._encrypted = parts.scheme == "https"
        self._idle: list[tuple[HttpConnection, float]] = []
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\n"
            "accept-encoding: identity\r\n"
        )

    async def post(
        self, content: bytes, headers: Mapping[str, str], max_bytes: int = MAX_BODY_BYTES
    ) -> HttpResponse:
        """Send a document; cancel it when it takes too long.

        Raises RequestFailed, ResponseTooLarge for a response of more than `max_bytes`.
        """
        fields = "".join(
            f"{name}: {_header_value(name, value)}\r\n" for name, value in headers.items()
        )
        head = f"{self._head}content-length: {len(content)}\r\n{fields}\r\n"
        connection = await self._connection()
        reply = await connection.send(head.encode("latin-1", errors="replace") + content, max_bytes)
        if len(self._idle) < MAX_IDLE:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.abort()
        return reply

    def close(self) -> None:
        """Close the connections kept open."""
        while self._idle:
            self._idle.pop()[0].abort()

    async def _connection(self) -> HttpConnection:
        while self._idle:
            found, since = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and found.is_usable():
                return found
            found.abort()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await HttpConnection.open(self._host, self._port, await self._context())
        except TimeoutError:
            raise RequestFailed(f"no connection within {CONNECT_SECONDS:g} s") from None
        except (OSError, UnicodeError) as error:
            raise RequestFailed(str(error) or type(error).__name__) from None

    async def _context(self) -> ssl.SSLContext | None:
        if not self._encrypted:
            return None
        if self._tls is None:
            self._tls = asyncio.ensure_future(asyncio.to_thread(_create_ssl_context))
        return await asyncio.shield(self._tls)


def _create_ssl_context() -> ssl.SSLContext:
    """What httpx trusts, SSL_CERT_FILE included; reading all authorities takes a while."""
    import httpx

    return httpx.create_ssl_context()


def _header_value(name: str, text: str) -> str:
    """A value from a header or from the tables, which may hold anything. Raises RequestFailed."""
    if _CONTROL_CHARACTERS.search(text):
        raise RequestFailed(f"the header {name} cannot hold control characters")
    return text


MAX_CONNECTIONS = 256


class OutboundClient:
    """Owns one shared httpx client, which keeps no cookie and follows no redirect.

    Cancel requests by a scope of anyio and never by their task: the library shields its own
    clean-up from the former only, and leaves connections open otherwise.
    """

    def __init__(self) -> None:
        self._making: asyncio.Task[httpx.AsyncClient] | None = None

    def begin(self) -> None:
        """Start making the client, off the event loop; needs a running one."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(_create_client))

    async def client(self) -> httpx.AsyncClient:
        """The client; the first to ask waits until it is made."""
        self.begin()
        assert self._making is not None  # noqa: S101
        return await asyncio.shield(self._making)

    async def aclose(self) -> None:
        """Close the connections kept open."""
        if self._making is not None:
            await (await self._making).aclose()


def _create_client() -> httpx.AsyncClient:
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx

    return httpx.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
        ),
        headers={"accept-encoding": "identity", "user-agent": "algaenv-gateway"},
        # Proxy settings of the environment must not redirect calls of this machine.
        trust_env=False,
    )
