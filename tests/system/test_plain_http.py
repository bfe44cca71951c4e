from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import (
    BadStatusLine,
    HTTPException,
    IncompleteRead,
    InvalidURL,
    LineTooLong,
    RemoteDisconnected,
)
from pathlib import Path

import pytest

from algaenv.system import plain_http
from algaenv.system.http import BodyTooLarge
from algaenv.system.plain_http import (
    PlainConnection,
    PlainRequest,
    TcpAddress,
    UnixAddress,
    connect_tcp,
    whole_body,
)
from tests.system.test_http import GET, HEAD, answering

TWO = HEAD + b"Content-Length: 3\r\n\r\ntwo"


def connect(port: int) -> PlainConnection:
    return PlainConnection(TcpAddress("127.0.0.1", port))


def fetch(port: int, request: PlainRequest = GET) -> bytes:
    return connect(port).exchange(request, whole_body, seconds=5)[1]


def test_a_connection_is_kept_for_the_next_exchange() -> None:
    chunked = (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\nX-Late: 1\r\n\r\n"
    )
    with answering(chunked, TWO) as port:
        connection = connect(port)
        head, first = connection.exchange(GET, whole_body, seconds=5)
        assert connection.is_open
        _, second = connection.exchange(GET, whole_body, seconds=5)
        connection.close()
    assert (first, second) == (b"one", b"two")
    assert head.status == 200
    assert dict(head.headers) == {"transfer-encoding": "chunked"}  # No trailer among them.


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\ntwo",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\ntwo",
        HEAD + b"\r\ntwo",  # Its end is that of the connection.
        TWO + b"and what belongs to no response",
    ],
)
def test_a_connection_that_cannot_be_used_again_is_closed(answer: bytes) -> None:
    with answering(answer) as port:
        connection = connect(port)
        assert connection.exchange(GET, whole_body, seconds=5)[1] == b"two"
        assert not connection.is_open


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", RemoteDisconnected),
        (b"220 mail.example ESMTP\r\n", BadStatusLine),
        (b"HTTP/1.1 200 OK\r\nContent-", BadStatusLine),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", BadStatusLine),
        (HEAD + b"Content-Length: 9\r\n\r\nhalf", IncompleteRead),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", IncompleteRead),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnumber\r\n", HTTPException),
        (HEAD + b"X-Long: " + b"x" * 600_000, LineTooLong),
    ],
)
def test_an_answer_that_is_none_is_an_error(answer: bytes, error: type[Exception]) -> None:
    with answering(answer) as port:
        connection = connect(port)
        with pytest.raises(error):
            connection.exchange(GET, whole_body, seconds=5)
        assert not connection.is_open


def test_a_body_that_its_reader_leaves_is_still_complete() -> None:
    with answering(HEAD + b"Content-Length: 9\r\n\r\nhalf") as port, pytest.raises(IncompleteRead):
        connect(port).exchange(GET, next, seconds=5)


def test_a_body_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "MAX_BODY_BYTES", 3)
    with (
        answering(HEAD + b"Content-Length: 4\r\n\r\nfour") as port,
        pytest.raises(BodyTooLarge),
    ):
        fetch(port)


def test_a_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(HEAD, hold=True) as port:
        connection = connect(port)
        with pytest.raises(TimeoutError):
            connection.exchange(GET, whole_body, seconds=0.2)
        assert not connection.is_open


def test_a_whole_exchange_has_one_deadline() -> None:
    """A trickle restarts no clock."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            line, _ = server.accept()
            with line:
                line.recv(65536)
                line.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
                while not stop.wait(0.02):
                    try:
                        line.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(TimeoutError):
            connect(server.getsockname()[1]).exchange_within(GET, whole_body, seconds=0.3)
        stop.set()
        thread.join()


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """The path of a unix socket that answers one request with its bytes."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            line, _ = server.accept()
            with line:
                asked = line.recv(65536)
                line.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(asked), asked))

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_what_is_sent_over_a_unix_socket(echo: str) -> None:
    request = PlainRequest("POST", "/a?b=c", b"{}", {"X-Key": "v"})
    connection = PlainConnection(UnixAddress(echo, "docker"))
    _, body = connection.exchange(request, whole_body, seconds=5)
    connection.close()
    head, _, sent = body.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a?b=c HTTP/1.1"
    assert {"Host: docker", "X-Key: v", "Content-Length: 2"} <= set(lines)
    assert sent == b"{}"


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX-Other: 1", "/\x7f"])
def test_a_target_cannot_end_its_line(target: str) -> None:
    with pytest.raises(InvalidURL):
        fetch(1, PlainRequest("GET", target))


def test_a_header_cannot_end_its_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        fetch(1, PlainRequest("GET", "/", headers={"X-Key": "v\r\nX-Other: 1"}))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (TcpAddress("localhost", 80), "localhost"),
        (TcpAddress("127.0.0.1", 8080), "127.0.0.1:8080"),
        (TcpAddress("::1", 8080), "[::1]:8080"),
    ],
)
def test_the_host_header(address: TcpAddress, host: str) -> None:
    assert address.host == host


def test_a_refused_connection_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect_tcp("localhost", port, 5)
