"""A small HTTP client over httptools: one plain connection, no redirects, no proxies, no TLS.

`http.client` imports the packages of mail and of TLS, which take a tenth of a no-op; its errors are
raised here as well, and are imported only then.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, NoReturn, TypeVar

import httptools

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_MAX_HEAD_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 256 * 1024

T = TypeVar("T")


class PlainRequest(NamedTuple):
    """A request. `target` is a path with its query."""

    method: str
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}


class Head(NamedTuple):
    """Status and headers of a response; names are in lower case, trailers are left out."""

    status: int
    headers: tuple[tuple[str, str], ...]


class UnixAddress(NamedTuple):
    """A unix socket; `host` is what the Host header says."""

    path: str
    host: str

    def connect(self, seconds: float) -> socket.socket:
        """Connect within `seconds`. Raises OSError."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(seconds)
        try:
            line.connect(self.path)
        except BaseException:
            line.close()
            raise
        return line


class TcpAddress(NamedTuple):
    """A host by name or number, and its port."""

    name: str
    port: int

    @property
    def host(self) -> str:
        """The Host header."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == 80 else f"{name}:{self.port}"

    def connect(self, seconds: float) -> socket.socket:
        """Connect within `seconds` for each address of the name. Raises OSError."""
        return connect_tcp(self.name, self.port, seconds)


def connect_tcp(name: str, port: int, seconds: float) -> socket.socket:
    """As `socket.create_connection`, without the codec for international names where there is none.

    Raises OSError.
    """
    if not name.isascii():
        return socket.create_connection((name, port), seconds)
    failure: OSError = OSError(f"no address of {name}")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        name.encode(), port, type=socket.SOCK_STREAM
    ):
        line = socket.socket(family, kind, protocol)
        try:
            line.settimeout(seconds)
            line.connect(address)
        except OSError as error:
            line.close()
            failure = error
        else:
            return line
    raise failure


class PlainConnection:
    """A connection that is kept for the next exchange and closed after an error; for one thread."""

    def __init__(self, address: UnixAddress | TcpAddress) -> None:
        self._address = address
        self._line: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        """Whether the next exchange goes over a line that was used before."""
        return self._line is not None

    def close(self) -> None:
        """Close the line; the next exchange opens another."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def exchange(
        self, request: PlainRequest, read: Callable[[Iterator[bytes]], T], *, seconds: float
    ) -> tuple[Head, T]:
        """Send a request; returns the head, and what `read` makes of the pieces of the body.

        `seconds` bounds each wait for the other side. Raises OSError and HTTPException, also for a
        body that is incomplete.
        """
        return self._exchange(request, read, lambda: seconds)

    def exchange_within(
        self, request: PlainRequest, read: Callable[[Iterator[bytes]], T], *, seconds: float
    ) -> tuple[Head, T]:
        """As `exchange`, where `seconds` bounds the whole of it. Raises TimeoutError past them."""
        deadline = time.monotonic() + seconds

        def left() -> float:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            return remaining

        return self._exchange(request, read, left)

    def _exchange(
        self,
        request: PlainRequest,
        read: Callable[[Iterator[bytes]], T],
        timeout: Callable[[], float],
    ) -> tuple[Head, T]:
        sent = _encode(request, self._address.host)
        try:
            if self._line is None:
                self._line = self._address.connect(timeout())
            self._line.settimeout(timeout())
            self._line.sendall(sent)
            response = _Response(self._line, timeout)
            head = response.read_head()
            found = read(response.pieces())
            for _ in response.pieces():  # What `read` left: the body may be incomplete.
                pass
        except BaseException:
            self.close()
            raise
        if not response.keeps_connection:
            self.close()
        return head, found


class _Response:
    """Reads one response. The methods without a docstring are called by the parser."""

    def __init__(self, line: socket.socket, timeout: Callable[[], float]) -> None:
        self._line = line
        self._timeout = timeout
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._pieces: list[bytes] = []
        self._head_done = self._complete = self._ended = self._keeps = False
        self._received = 0

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow over the line."""
        return self._keeps and not self._ended

    def read_head(self) -> Head:
        """Raises OSError, and HTTPException for what is no HTTP."""
        while not self._head_done:
            if self._received > _MAX_HEAD_BYTES:
                _raise_http("LineTooLong", "header line")
            self._receive()
        status = self._parser.get_status_code()
        if status < 200:  # An interim response that no request of ours asks for.
            _raise_http("BadStatusLine", str(status))
        return Head(status, tuple(self._headers))

    def pieces(self) -> Iterator[bytes]:
        """What is left of the body. Raises IncompleteRead when it ends too early."""
        while True:
            found, self._pieces = self._pieces, []
            yield from found
            if self._complete:
                break
            self._receive()

    def _receive(self) -> None:
        self._line.settimeout(self._timeout())
        data = self._line.recv(_READ_BYTES)
        if not data:
            self._on_end()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._complete:  # Bytes after the response; the line is not used again.
                self._ended = True
            elif self._head_done:
                _raise_http("HTTPException", "the body is malformed")
            else:
                _raise_http("BadStatusLine", data[:40].decode(errors="replace"))

    def _on_end(self) -> None:
        if not self._received:
            _raise_http("RemoteDisconnected", "Remote end closed connection without response")
        if not self._head_done:
            _raise_http("BadStatusLine", "the connection ended within the headers")
        # Without a length the end of the connection is the end of the body.
        if any(name in ("content-length", "transfer-encoding") for name, _ in self._headers):
            _raise_http("IncompleteRead", b"")
        self._complete = self._ended = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._head_done = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._complete = True
        self._keeps = self._parser.should_keep_alive()  # Afterwards it is forgotten.


def whole_body(pieces: Iterable[bytes]) -> bytes:
    """The body. Raises BodyTooLarge when it has more than MAX_BODY_BYTES."""
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MAX_BODY_BYTES:
            from algaenv.system.http import BodyTooLarge

            raise BodyTooLarge(f"more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _encode(request: PlainRequest, host: str) -> bytes:
    """Raises HTTPException for what would end a line too early."""
    fields = {"Host": host, "Accept-Encoding": "identity", **request.headers}
    if request.body is not None:
        fields["Content-Length"] = str(len(request.body))
    elif request.method not in ("GET", "HEAD", "DELETE"):
        fields["Content-Length"] = "0"
    if any(character <= " " or character == "\x7f" for character in request.target):
        _raise_http("InvalidURL", f"a URL cannot hold control characters: {request.target!r}")
    lines = [f"{name}: {value}" for name, value in fields.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header cannot hold a line break")
    head = "\r\n".join((f"{request.method} {request.target} HTTP/1.1", *lines, "\r\n"))
    return head.encode("latin-1") + (request.body or b"")


def _raise_http(name: str, said: str | bytes) -> NoReturn:
    import http.client

    error: type[Exception] = getattr(http.client, name)
    raise error(said)
