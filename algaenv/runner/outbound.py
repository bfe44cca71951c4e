"""Outbound HTTP: shared clients, created off the event loop, and one request to a peer.

Importing the client library and reading the certificates of this system take longer than many
requests; a thread does both while the service is already listening.

There are three clients, so that none waits for connections that another's peers hold: `client`
asks the registry and reads bundles, `peers` sends requests of guests to servers that the
environment names, and `guests` goes where guests say. None keeps a cookie: it would be another
tenant's.

Requests through them must be cancelled by an anyio scope and never by cancelling the task: the
library shields its cleanup from the former only. A task that is cancelled while connections are
being closed drops the others unclosed, and one that is cancelled while it connects leaks the
connection.

A peer may redirect to its own origin. Alga's runner follows to any host and shows that host the
token and, as referer, the internal address; here the response is then the redirect itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope

from algaenv.runner.host.settings import EgressGuard
from algaenv.runner.locks import import_lock

if TYPE_CHECKING:
    import httpx


IDLE_SECONDS = 4.0
"""A connection is not used again after it was idle for so long: Node's servers, which Alga's is
one of, close theirs after 5 s, and a request that meets the close is lost."""


@dataclass(frozen=True, slots=True)
class _Clients:
    own: httpx.AsyncClient
    peers: httpx.AsyncClient
    guests: httpx.AsyncClient


class Outbound:
    """The shared clients; close it at the end."""

    def __init__(self) -> None:
        self._making: asyncio.Task[_Clients] | None = None

    def start(self) -> None:
        """Start making the clients; needs a running loop."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(_make_clients))

    async def client(self) -> httpx.AsyncClient:
        """The client of the service itself; the first to ask waits until it is made."""
        return (await self._made()).own

    async def peers(self) -> httpx.AsyncClient:
        """The client for the application server, the UI's proxy and Vault: adds no header, limits
        neither time nor connections, since each call has one question at a time and a limit."""
        return (await self._made()).peers

    async def guests(self) -> httpx.AsyncClient:
        """The client for `http.fetch`. Like `peers`, and blind to redirects: a response lacks its
        `location`, and `extensions["headers"]` has all headers as they came."""
        return (await self._made()).guests

    async def aclose(self) -> None:
        """Close the connections kept open."""
        if self._making is not None:
            made = await self._making
            for client in (made.own, made.peers, made.guests):
                await client.aclose()

    async def _made(self) -> _Clients:
        self.start()
        assert self._making is not None  # noqa: S101
        return await asyncio.shield(self._making)


def _make_clients() -> _Clients:
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    with import_lock():
        import httpx

    ssl_context = httpx.create_ssl_context()
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    no_timeout = httpx.Timeout(None)
    no_limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=64, keepalive_expiry=IDLE_SECONDS
    )
    clients = _Clients(
        own=httpx.AsyncClient(
            verify=ssl_context,
            cookies=no_cookies,
            timeout=httpx.Timeout(60.0, connect=5.0),
            limits=httpx.Limits(
                max_connections=100, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS
            ),
            headers={
                "accept": "*/*",
                "accept-encoding": "identity",
                "user-agent": "algaenv-runner",
            },
            event_hooks={"request": [_trace_handshake]},
        ),
        peers=httpx.AsyncClient(
            verify=ssl_context,
            cookies=no_cookies,
            timeout=no_timeout,
            limits=no_limits,
            event_hooks={"request": [_trace_handshake]},
        ),
        guests=httpx.AsyncClient(
            verify=ssl_context,
            cookies=no_cookies,
            timeout=no_timeout,
            limits=no_limits,
            event_hooks={"request": [_trace_handshake], "response": [_hide_redirect]},
        ),
    )
    _guard_connections(clients.guests)
    return clients


def _guard_connections(client: httpx.AsyncClient) -> None:
    """Have connections go where the guest may go, and nowhere else.

    The library has no public way to give a network to a client that reads proxies from the
    environment. Fails when its inside has changed, rather than guard nothing.
    """
    transports = [client._transport, *client._mounts.values()]
    for transport in filter(None, transports):
        pool: Any = transport._pool  # type: ignore[attr-defined]
        pool._network_backend = EgressGuard(pool._network_backend)


async def _trace_handshake(request: httpx.Request) -> None:
    if request.url.scheme == "https":
        request.extensions = {**request.extensions, "trace": _Handshake()}


class _Handshake:
    """Closes a connection whose TLS handshake is cancelled, which the library forgets to do: it
    would stay open, before a peer that says nothing, until the interpreter comes across it."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed" and self._stream is not None:
            with CancelScope(shield=True):
                await self._stream.aclose()


async def _hide_redirect(response: httpx.Response) -> None:
    # The library would read `location` even when it does not go there, and fail on a bad one.
    response.extensions["headers"] = response.headers.raw
    response.headers.pop("location", None)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class InvalidHeader(Exception):
    """Not to be sent; without a text, since the value may be a secret."""


def is_token(text: str) -> bool:
    """Whether this can be a method or the name of a header."""
    return _TOKEN.fullmatch(text) is not None


def header_pair(name: str, value: str) -> tuple[bytes, bytes]:
    """A header for the wire; text beyond ASCII goes as UTF-8. Raises InvalidHeader."""
    # Space around a value has no meaning, and the HTTP library refuses to send it.
    encoded = value.encode().strip(b" \t")
    if not is_token(name) or _FORBIDDEN.search(encoded):
        raise InvalidHeader
    return name.encode(), encoded


MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Of a response; a handler has 256 MiB by default and needs memory to process it."""
_MAX_REDIRECTS = 10
_PORTS = {"http": 80, "https": 443}


class NoResponse(Exception):
    """The peer did not respond, or not in time. The text is a reason without an address."""


@dataclass(frozen=True, slots=True)
class PeerResponse:
    """A status, and the body as it was on the wire."""

    status: int
    chunks: tuple[bytes, ...]
    complete: bool = True
    """False when the body was cut short, or longer than MAX_RESPONSE_BYTES."""

    @property
    def body(self) -> bytes:
        """Put together by whom it is for, since a long one would hold up the event loop."""
        return b"".join(self.chunks)

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class PeerRequest:
    """An HTTP request; `headers` are complete but for host and length."""

    method: str
    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None = None


async def send_request(
    outbound: Outbound, peer_request: PeerRequest, *, seconds: float
) -> PeerResponse:
    """Send, and read the response to its end, within `seconds` altogether. Raises NoResponse."""
    import httpx

    response: httpx.Response | None = None
    chunks: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(seconds):
            client = await outbound.peers()
            response = await _send(client, peer_request)
            async for chunk in response.aiter_raw():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_RESPONSE_BYTES:
                    return PeerResponse(response.status_code, (), complete=False)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError, OverflowError) as error:
        if response is None:
            # The library's own text may hold the address or a header.
            raise NoResponse(type(error).__name__) from None
        return PeerResponse(response.status_code, tuple(chunks), complete=False)
    finally:
        if response is not None:
            await response.aclose()
    return PeerResponse(response.status_code, tuple(chunks))


async def _send(client: httpx.AsyncClient, peer_request: PeerRequest) -> httpx.Response:
    import httpx

    request = httpx.Request(
        peer_request.method,
        peer_request.url,
        headers=list(peer_request.headers),
        content=peer_request.body,
    )
    url = request.url
    response = await client.send(request, stream=True)
    for _ in range(_MAX_REDIRECTS):
        next_request = response.next_request
        if next_request is None or not _is_same_origin(url, next_request.url):
            break
        await response.aclose()
        response = await client.send(next_request, stream=True)
    return response


def _is_same_origin(url: httpx.URL, next_request: httpx.URL) -> bool:
    """Whether this is the same origin, or its secure twin."""
    here = (url.scheme, url.port or _PORTS.get(url.scheme))
    there = (next_request.scheme, next_request.port or _PORTS.get(next_request.scheme))
    return url.host == next_request.host and (
        here == there or (here, there) == (("http", 80), ("https", 443))
    )
