from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from algaenv.system import http, plain_http
from algaenv.system.http import (
    BodyTooLarge,
    PlainRequest,
    UnixConnection,
    exchange,
    exchange_within,
)

GET = PlainRequest("GET", "/")
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def answering(*answers: bytes, hold: bool = False) -> Iterator[int]:
    """A server of one connection; with `hold` it then waits for the other side to hang up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                for answer in answers:
                    line.recv(65536)
                    line.sendall(answer)
                if hold:
                    with contextlib.suppress(OSError):
                        line.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_a_connection_is_kept_for_the_next_exchange() -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n"
    whole = HEAD + b"Content-Length: 3\r\n\r\ntwo"
    with answering(chunked, whole) as port:
        connection = HTTPConnection("127.0.0.1", port)
        bodies = [exchange(connection, GET, http.whole_body, seconds=5)[1] for _ in range(2)]
        connection.close()
    assert bodies == [b"one", b"two"]


def test_a_body_that_is_cut_off_is_an_error() -> None:
    with answering(HEAD + b"Content-Length: 9\r\n\r\nhalf") as port:
        connection = HTTPConnection("127.0.0.1", port)
        with pytest.raises(IncompleteRead):
            exchange(connection, GET, http.whole_body, seconds=5)
        assert connection.sock is None


def test_a_body_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "MAX_BODY_BYTES", 3)
    four = HEAD + b"Content-Length: 4\r\n\r\nfour"
    with answering(four) as port, pytest.raises(BodyTooLarge):
        exchange(HTTPConnection("127.0.0.1", port), GET, http.whole_body, seconds=5)


def test_a_whole_exchange_has_one_deadline() -> None:
    with answering(HEAD + b"Content-Length: 9\r\n\r\nhalf", hold=True) as port:
        connection = HTTPConnection("127.0.0.1", port)
        with pytest.raises(TimeoutError):
            exchange_within(connection, GET, http.whole_body, seconds=0.2)
        assert connection.sock is None


def test_a_unix_socket(tmp_path: Path) -> None:
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
        connection = UnixConnection(path, "docker")
        _, body = exchange(connection, GET, http.whole_body, seconds=5)
        connection.close()
        thread.join()
    assert b"Host: docker" in body
