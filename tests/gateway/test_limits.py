"""Requests that are too large, malformed or made up: refused, without effect on other requests."""

from __future__ import annotations

import http.client
import itertools
import socket
import time
from collections import deque
from contextlib import closing

import pytest

from algaenv.serving.request_limits import LINGER_SECONDS
from tests.fuzzing import ask, ask_on_and_on, fuzz, tracebacks
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension
from tests.gateway.stub_runner import StubRunner

MOST = 64 * 1024


def head(*headers: bytes, target: bytes = b"/healthz") -> bytes:
    lines = [b"GET " + target + b" HTTP/1.1", b"host: localhost", *headers, b"", b""]
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    "request_",
    [
        head(b"x: " + b"v" * MOST),
        head(*[b"x: v"] * (MOST // 5)),
        head(*[b"origin: http://localhost"] * 20_000),
        head(target=b"/" + b"a" * MOST),
        b"GET /healthz HTTP/1.1\r\nx: " + b"v" * (3 * MOST),
        b"GET /" + b"v" * (3 * MOST),
    ],
    ids=["value", "many", "repeated", "target", "endless value", "endless target"],
)
def test_a_head_above_64_kib_is_refused(service: Gateway, request_: bytes) -> None:
    assert ask(service.port, request_) == 431


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nx: " + b"v" * (2 * MOST), 431),
        (b"GET /" + b"v" * (2 * MOST), 431),
        (b"GET /healthz NONSENSE\r\nx: v", 400),
        (
            b"POST /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"content-length: 9999999\r\n\r\nv",
            405,
        ),
    ],
    ids=["header", "target", "malformed", "body"],
)
def test_a_refusal_reaches_a_client_that_still_sends(
    service: Gateway, request_: bytes, status: int
) -> None:
    assert ask_on_and_on(service.port, request_, b"v" * MOST) == status


@pytest.mark.slow
def test_a_client_that_sends_for_ever_is_cut(service: Gateway) -> None:
    endless = itertools.repeat(b"v" * MOST)
    with socket.create_connection(("127.0.0.1", service.port), 30) as link:
        link.sendall(b"GET /healthz NONSENSE\r\n\r\n")
        with pytest.raises(ConnectionError):
            deque(map(link.sendall, endless), maxlen=0)


def test_a_part_of_a_head_does_not_delay_the_end(start: Start) -> None:
    service = start()
    with socket.create_connection(("127.0.0.1", service.port), 30) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nhost: ")
        # What is answered later was read later.
        assert service.ask("/healthz").status == 200
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < LINGER_SECONDS


def test_a_head_below_it_is_read_on_every_connection(service: Gateway) -> None:
    headers = {f"x-{number}": "v" * 1000 for number in range(60)}
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as link:
        for _ in range(5):
            link.request("GET", "/healthz", headers=headers)
            answer = link.getresponse()
            answer.read()
            assert answer.status == 200


def test_a_head_after_a_body_is_counted_by_itself(service: Gateway) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as link:
        for _ in range(3):
            link.request("POST", "/healthz", body=b"x" * (2 * MOST))
            answer = link.getresponse()
            answer.read()
            assert answer.status == 405


def test_an_answer_is_not_cut_by_the_refusal_of_what_follows(service: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", service.port), 30) as link:
        link.sendall(head() + head(b"x: " + b"v" * MOST))
        received = b""
        while more := link.recv(65536):
            received += more
    assert b" 500 " not in received
    assert received.count(b"HTTP/1.1 ") <= 2


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://]", "//", "\xe9"])
def test_a_malformed_origin_is_refused(service: Gateway, origin: str) -> None:
    for path in ("/", "/api/ext/x/y", "/api/ext-proxy/x/y", "/api/openapi"):
        for method in ("GET", "POST", "OPTIONS"):
            answer = service.call(path, b"{}", method=method, origin=origin)
            assert answer.status == 403, (path, method)


@pytest.mark.parametrize(
    "name", ["accept", "accept-language", "if-none-match", "range", "user-agent"]
)
def test_a_header_that_is_no_ascii_is_forwarded_as_it_came(
    service: Gateway, hello: Extension, runner: StubRunner, name: str
) -> None:
    answer = service.call("/runner/ext-ui/x", **{name.replace("-", "_"): "caf\xe9"})
    assert answer.status != 500
    assert runner.last.headers[name] == "caf\xe9"
    answer = service.call(f"/api/ext/{hello.registry}/hello", **{name.replace("-", "_"): "caf\xe9"})
    assert answer.status == 200


def test_nothing_that_comes_is_our_own_failure(
    service: Gateway, hello: Extension, runner: StubRunner
) -> None:
    before = len(tracebacks(service))
    paths = (
        b"/", b"/healthz", b"/readyz", b"/nowhere", b"/msp/extensions", b"/client-portal",
        b"/api/openapi", b"/algaenv/events/x", b"/api/ext-debug/stream/x", b"/runner/ext-ui",
        b"/api/ext", b"/api/ext/" + hello.registry.encode(), b"/api/ext-proxy",
        b"/api/ext-proxy/" + hello.registry.encode(), b"/api/installs/lookup-by-host",
        b"/api/installs/validate", b"/api/internal/ext-storage/install/" + hello.install.encode(),
        b"/api/internal/ext-scheduler/install/x", b"/api/internal/ext-runner/install-config",
    )  # fmt: skip
    for take in fuzz(service, paths):
        assert take.status != 500, take
    assert service.ask("/healthz").status == 200
    assert tracebacks(service)[before:] == []
