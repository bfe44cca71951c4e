"""Calls carried to a server that answers byte for byte what a test wants, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from algaenv.gateway import http_client as module
from algaenv.gateway.http_client import HttpClient, HttpResponse, RequestFailed, ResponseTooLarge
from tests.runner.observability.fake_redis import certificate

Scene = Callable[["Peer", HttpClient], Awaitable[None]]
CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = b"x" * 3_000_000
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """A server: `pieces` are what it sends for each request, None closes the connection."""

    def __init__(self) -> None:
        self.pieces: list[bytes | None] = [OK]
        self.asked: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                self.asked.append(head + await reader.readexactly(length))
                for piece in self.pieces:
                    if piece is None:
                        writer.close()
                        break
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        self.open -= 1
        writer.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.005)


def play(scene: Scene, *, tls: ssl.SSLContext | None = None) -> None:
    """Run a scene with a server and a client for it, on the loop of the service and the usual."""

    async def played() -> None:
        peer = Peer()
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        client = HttpClient(f"{scheme}://{host}:{port}/v1/execute?a=b")
        try:
            await scene(peer, client)
        finally:
            client.close()
            server.close()
            for writer in peer.writers:
                writer.close()

    for factory in (uvloop.new_event_loop, asyncio.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(played())


def test_a_request_and_a_kept_connection() -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        for _ in range(3):
            reply = await client.post(b"{}", {"x-request-id": "r\xe9"})
            assert reply == HttpResponse(200, {"content-length": "2"}, b"ok")
        assert peer.connections == 1
        head, _, body = peer.asked[0].partition(b"\r\n\r\n")
        assert body == b"{}"
        assert head.split(b"\r\n")[0] == b"POST /v1/execute?a=b HTTP/1.1"
        lines = head.split(b"\r\n")[1:]
        assert lines[0].startswith(b"host: 127.0.0.1:")
        assert lines[1:] == [
            b"accept-encoding: identity",
            b"content-length: 2",
            b"x-request-id: r\xe9",
        ]

    play(scene)


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"o", b"k"], b"ok"),
        (
            [f"{CHUNKED}2\r\nok\r\n".encode(), b"0\r\n\r\n"],
            b"ok",
        ),
        ([b"HTTP/1.1 200 OK\r\n\r\nto the", b" end", None], b"to the end"),
        ([b"HTTP/1.0 200 OK\r\n\r\n", None], b""),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\nlink: x\r\n\r\n" + OK], b"ok"),
        ([b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", None], b"ok"),
        (
            [b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n", LARGE],
            LARGE,
        ),
    ],
)
def test_answers_of_any_form(pieces: list[bytes | None], body: bytes) -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        peer.pieces = pieces
        for _ in range(2):
            reply = await client.post(b"", {})
            assert reply.status in {200, 204}
            assert reply.content == body
            assert "link" not in reply.headers

    play(scene)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([None], "before it had answered"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", None], "before it had answered"),
        ([f"{CHUNKED}2\r\nok\r\n".encode(), None], "before"),
        ([b"HTTP/1.1 200 OK\r\ncontent-le", None], "before it had answered"),
        ([b"+PONG\r\n"], "no HTTP"),
        ([f"{CHUNKED}zz\r\n".encode()], "no HTTP"),
        ([b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], "another protocol"),
    ],
)
def test_what_is_no_answer(pieces: list[bytes | None], why: str) -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        peer.pieces = pieces
        with pytest.raises(RequestFailed, match=why):
            await client.post(b"{}", {})
        peer.pieces = [OK]
        assert (await client.post(b"{}", {})).content == b"ok"
        await peer.until(lambda: peer.open == 1)

    play(scene)


def test_nobody_there() -> None:
    async def asked() -> None:
        server = await asyncio.start_server(Peer().serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(RequestFailed, match=r"(?i)connect|refused"):
            await HttpClient(f"http://127.0.0.1:{port}/").post(b"", {})
        with pytest.raises(RequestFailed):
            await HttpClient("http://nobody.invalid/").post(b"", {})

    asyncio.run(asked())


def test_nobody_takes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.1)
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        # One connection waits unaccepted; later ones get no reply.
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        client = HttpClient(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        with pytest.raises(RequestFailed, match=r"no connection within 0\.1 s"):
            asyncio.run(client.post(b"", {}))


def test_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, private = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(public, private)

    async def trusted(peer: Peer, client: HttpClient) -> None:
        for _ in range(2):
            assert (await client.post(b"{}", {})).content == b"ok"
        assert peer.connections == 1

    async def unknown(peer: Peer, client: HttpClient) -> None:
        with pytest.raises(RequestFailed, match=r"(?i)certificate"):
            await client.post(b"{}", {})
        assert not peer.asked

    play(unknown, tls=tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    play(trusted, tls=tls)


def test_who_goes_away_closes_the_connection() -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        peer.pieces = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.post(b"{}", {})
        await peer.until(lambda: peer.open == 0 and peer.connections == 1)
        peer.pieces = [OK]
        assert (await client.post(b"{}", {})).content == b"ok"
        assert peer.connections == 2

    play(scene)


def test_a_connection_that_ended_or_speaks_unasked_is_not_used_again() -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        for response in (b"", b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"):
            await client.post(b"{}", {})
            writer = peer.writers[-1]
            if response:
                writer.write(response)
                await writer.drain()
            else:
                writer.close()
                await writer.wait_closed()
            assert (await client.post(b"{}", {})).content == b"ok"
        assert peer.connections == 3

    play(scene)


def test_one_that_was_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        await client.post(b"{}", {})
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
        await client.post(b"{}", {})
        await peer.until(lambda: peer.connections == 2 and peer.open == 1)

    play(scene)


def test_many_at_once_and_few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 3)

    async def scene(peer: Peer, client: HttpClient) -> None:
        replies = await asyncio.gather(*(client.post(b"%d" % it, {}) for it in range(20)))
        assert [reply.content for reply in replies] == [b"ok"] * 20
        assert {asked.partition(b"\r\n\r\n")[2] for asked in peer.asked} == {
            b"%d" % it for it in range(20)
        }
        await peer.until(lambda: peer.open == 3)

    play(scene)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_no_value_adds_a_header(text: str) -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        try:
            await client.post(b"{}", {"x-alga-tenant": text})
        except RequestFailed:
            assert not peer.asked
            return
        assert peer.asked[0].partition(b"\r\n\r\n")[0].count(b"\r\n") == 4
        assert peer.asked[0].partition(b"\r\n\r\n")[2] == b"{}"

    play(scene)


def test_a_line_break_is_refused() -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        for value in ("a\r\nx: y", "a\nx: y", "a\0", "a\r"):
            with pytest.raises(RequestFailed, match="x-alga-tenant"):
                await client.post(b"{}", {"x-alga-tenant": value})
        assert not peer.asked

    play(scene)


def test_an_answer_is_read_no_further_than_wanted() -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        peer.pieces = [b"HTTP/1.1 201 OK\r\ncontent-length: 3000000\r\n\r\n", LARGE]
        assert len((await client.post(b"{}", {})).content) == len(LARGE)
        with pytest.raises(ResponseTooLarge) as caught:
            await client.post(b"{}", {}, 1000)
        assert (caught.value.status, str(caught.value)) == (201, "more than 1000 bytes")
        peer.pieces = [CHUNKED.encode(), b"800\r\n" + b"x" * 0x800 + b"\r\n", b"0\r\n\r\n"]
        with pytest.raises(ResponseTooLarge):
            await client.post(b"{}", {}, 1000)
        peer.pieces = [OK]
        assert (await client.post(b"{}", {})).content == b"ok"

    play(scene)


def test_a_head_of_an_answer_has_an_end() -> None:
    async def scene(peer: Peer, client: HttpClient) -> None:
        peer.pieces = [b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"v" * 60_000 + b"\r\n"] * 8]
        with pytest.raises(RequestFailed, match="head"):
            await client.post(b"{}", {})

    play(scene)


def test_a_host_that_is_no_name() -> None:
    async def asked() -> None:
        with pytest.raises(RequestFailed):
            await HttpClient(f"http://{'x' * 80}.{'y' * 80}/").post(b"{}", {})

    asyncio.run(asked())
