"""Callers that send slowly, and a runner that stalls in the middle of a page."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing

import psycopg
import pytest

from tests.gateway.conftest import _env
from tests.gateway.gateway_process import TOKEN, Gateway, gateway
from tests.gateway.seed import Extension
from tests.gateway.stub_runner import StubResponse, StubRunner
from tests.servers import Database

WAIT = 60.0
"""Far above the limits that are set here, and below for ever."""


@pytest.fixture(scope="module")
def hasty(_database: Database, _runner: StubRunner) -> Iterator[Gateway]:
    """A gateway that gives bodies, the runner and other writes half a second."""
    first = (
        "from algaenv.serving import request_limits; request_limits.BODY_SECONDS = 0.5\n"
        "from algaenv.gateway.apis.storage import records; records.STATEMENT_SECONDS = 0.5"
    )
    env = _env(_database, _runner) | {"EXT_GATEWAY_TIMEOUT_MS": "500"}
    with gateway(env, first) as service:
        yield service


@pytest.mark.parametrize(
    "path",
    [
        "/api/ext/{registry}/hello",
        "/api/ext-proxy/{registry}/hello",
        "/api/internal/ext-storage/install/{install}",
        "/api/internal/ext-runner/install-config",
    ],
)
def test_a_body_that_does_not_come_is_answered_408(
    hasty: Gateway, tables: Database, hello: Extension, runner: StubRunner, path: str
) -> None:
    target = path.format(registry=hello.registry, install=hello.install)
    # A page that another test has had cut leaves a traceback.
    earlier = len(hasty.lines)
    head = (
        f"POST {target} HTTP/1.1\r\nhost: localhost\r\nx-runner-auth: {TOKEN}\r\n"
        "content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", hasty.port), WAIT) as link:
        link.sendall(head.encode() + b'{"a":')
        received = b""
        while more := link.recv(65536):
            received += more
    assert received.startswith(b"HTTP/1.1 408 "), received
    assert b"connection: close" in received.lower()
    assert runner.asked == []
    assert not [each for each in tuple(hasty.lines)[earlier:] if "traceback" in each]


def test_a_page_that_stalls_in_the_middle_is_cut(
    hasty: Gateway, tables: Database, hello: Extension, runner: StubRunner
) -> None:
    runner.respond_with(
        StubResponse(200, b"half", {"content-type": "text/css", "content-length": "1000"})
    )
    with closing(http.client.HTTPConnection("127.0.0.1", hasty.port, timeout=WAIT)) as link:
        link.request("GET", f"/runner/ext-ui/{hello.registry}/x/app.css")
        answer = link.getresponse()
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
    assert caught.value.partial == b"half"
    runner.respond_with(StubResponse(200, b"whole", {"content-type": "text/css"}))
    assert hasty.call(f"/runner/ext-ui/{hello.registry}/x/app.css").body == b"whole"


def test_a_write_waits_for_the_one_before_it_only_so_long(
    hasty: Gateway, tables: Database, hello: Extension
) -> None:
    url = f"/api/internal/ext-storage/install/{hello.install}"
    headers = {"content-type": "application/json", "x_runner_auth": TOKEN}
    body = json.dumps({"operation": "put", "namespace": "n", "key": "k", "value": 1}).encode()

    def put() -> int:
        return hasty.call(url, body, **headers).status

    assert put() == 200
    with psycopg.connect(tables.url) as connection, ThreadPoolExecutor(2) as threads:
        connection.execute("SELECT FROM ext_storage_usage FOR UPDATE")
        ends = as_completed([threads.submit(put) for _ in range(2)])
        assert next(ends).result() == 503
        connection.rollback()
        assert next(ends).result() == 200
