"""Requests that are too large, malformed or made up: refused, without effect on others."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from uvicorn import Config, Server

from algaenv.runner import http
from algaenv.serving import request_limits
from tests.fuzzing import ask, ask_on_and_on, fuzz, tracebacks

from .archives import TENANT, Bundle
from .conftest import Start

MOST = 64 * 1024


def head(*headers: bytes, target: bytes = b"/healthz") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"host: localhost", *headers, b"", b""])


def test_a_head_above_64_kib_is_refused(start: Start) -> None:
    service = start()
    for request in (
        head(b"x: " + b"v" * MOST),
        head(*[b"x: v"] * (MOST // 5)),
        head(target=b"/" + b"a" * MOST),
        b"GET /healthz HTTP/1.1\r\nx: " + b"v" * (3 * MOST),
    ):
        assert ask(service.port, request) == 431
    assert service.ask("/healthz", {"x": "v" * (MOST - 1000)}).status == 200


def test_a_refusal_reaches_a_client_that_still_sends(start: Start) -> None:
    service = start()
    large = b"GET /healthz HTTP/1.1\r\nx: " + b"v" * (2 * MOST)
    assert ask_on_and_on(service.port, large, b"v" * MOST) == 431
    assert ask_on_and_on(service.port, b"GET /healthz NONSENSE\r\nx: v", b"v" * MOST) == 400


@pytest.mark.parametrize("strict", ["true", "false"])
def test_nothing_that_comes_is_our_own_failure(start: Start, demo: Bundle, strict: str) -> None:
    service = start(EXT_STATIC_STRICT_VALIDATION=strict)
    page = demo.path("").encode()
    paths = (
        b"/", b"/healthz", b"/readyz", b"/metrics", b"/nowhere", b"/v1/execute", b"/warmup",
        page, page + b"index.html?tenant=" + TENANT.encode(), b"/ext-ui", b"/ext-ui/x",
    )  # fmt: skip
    for taken in fuzz(service, paths):
        # A bundle that is not there is 500 in Alga's runner.
        if taken.status == 500:
            assert b"/ext-ui/" in taken.request, taken
    assert service.ask("/healthz").status == 200
    assert tracebacks(service) == []


def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "BODY_SECONDS", 0.2)
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> MutableMapping[str, Any]:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(http.InvalidRequest) as caught:
        asyncio.run(http.read_json(Request(scope, receive)))
    assert caught.value.status == 408


ANSWER = b"a" * (16 * 1024 * 1024)
"""More than the kernel takes for a client that does not read."""
UNFINISHED = (
    b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\nv"
)


@contextmanager
def _serving() -> Iterator[Server]:
    """A server that answers at length, and reads no body."""
    config = Config(
        Response(ANSWER),
        loop="uvloop",
        http=request_limits.LimitedHttpProtocol,
        log_config=None,
        lifespan="off",
    )
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield server
        finally:
            server.should_exit = True
            thread.join()


def _connected(server: Server) -> socket.socket:
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    return socket.create_connection(server.servers[0].sockets[0].getsockname(), 20)


def test_an_answer_reaches_a_client_that_reads_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "LINGER_SECONDS", 0.5)
    received = 0
    with _serving() as server, _connected(server) as link:
        link.sendall(UNFINISHED)
        while more := link.recv(1024 * 1024, socket.MSG_WAITALL):
            received += len(more)
            time.sleep(0.1)
    assert received > len(ANSWER)


def test_a_client_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "LINGER_SECONDS", 0.2)
    received = 0
    with _serving() as server, _connected(server) as link:
        link.sendall(UNFINISHED)
        assert link.recv(1, socket.MSG_PEEK)
        until = time.monotonic() + 20
        while server.server_state.connections:
            assert time.monotonic() < until
            time.sleep(0.01)
        with suppress(ConnectionError):
            while more := link.recv(1024 * 1024):
                received += len(more)
    assert received < len(ANSWER)
