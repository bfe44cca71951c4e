"""A database that accepts connections and does not answer: callers wait a bounded time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.freezing import Freezing, freezing
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import TOKEN, Answer, Gateway
from tests.gateway.seed import Extension
from tests.gateway.stub_runner import StubRunner
from tests.params import slow_params
from tests.servers import Database

WAIT = 60.0
"""Well above every bound there is, and below for ever."""


@pytest.fixture
def line(tables: Database) -> Iterator[Freezing]:
    parts = urlsplit(tables.url)
    assert parts.hostname
    with freezing(parts.hostname, parts.port or 5432) as relay:
        yield relay


@pytest.fixture
def service(start: Start, tables: Database, line: Freezing) -> Gateway:
    parts = urlsplit(tables.url)
    netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{line.port}"
    url = urlunsplit(parts._replace(netloc=netloc))
    return start(DATABASE_URL=url, EXT_GATEWAY_TIMEOUT_MS="1500")


def ask(service: Gateway, path: str, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is None:
        return service.ask(path, named, timeout=WAIT)
    content = json.dumps(body).encode()
    named["content-type"] = "application/json"
    return service.ask(path, named, method="POST", body=content, timeout=WAIT)


def again(service: Gateway, path: str) -> Answer:
    """Ask until the answer is 200; the pool needs a moment to connect again."""
    until = time.monotonic() + WAIT
    while (answer := ask(service, path)).status != 200 and time.monotonic() < until:
        time.sleep(0.1)
    return answer


def wait_for_line(service: Gateway, event: str) -> dict[str, Any]:
    """The line of this event; what comes before it was written before."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        for line in tuple(service.lines):
            if line["event"] == event:
                return line
        time.sleep(0.05)
    raise AssertionError(f"no line {event!r}")


@pytest.mark.parametrize("route_prefix", ["ext", *slow_params("ext-proxy")])
def test_a_call_ends_with_its_time(
    service: Gateway, line: Freezing, hello: Extension, runner: StubRunner, route_prefix: str
) -> None:
    path = f"/api/{route_prefix}/{hello.registry}/hello"
    assert ask(service, path).status == 200
    line.flowing.clear()
    before = len(runner.asked)
    for _ in range(2):
        answer = ask(service, path)
        assert answer.status == 503
        assert answer.json == {"error": "access_policy_unavailable"}
        assert answer.headers["x-algaenv-error"].startswith("gateway-database-down: ")
    assert len(runner.asked) == before
    assert service.ask("/healthz").status == 200
    line.flowing.set()
    assert again(service, path).status == 200


@pytest.mark.slow
def test_what_runners_and_people_ask_ends_too(
    service: Gateway, line: Freezing, hello: Extension
) -> None:
    storage = f"/api/internal/ext-storage/install/{hello.install}"
    get = {"operation": "get", "namespace": "n", "key": "k"}
    assert ask(service, storage, get, x_runner_auth=TOKEN).status == 404
    line.flowing.clear()
    answer = ask(service, storage, get, x_runner_auth=TOKEN)
    assert answer.status == 503
    assert answer.headers["x-algaenv-error"].startswith("gateway-database-down: ")
    assert ask(service, "/readyz").status == 503
    lookup = f"/api/installs/validate?tenant=t&extension={hello.registry}&hash=sha256:{'0' * 64}"
    assert ask(service, lookup, x_api_key="registry-key").json == {"valid": False}
    host = "/api/installs/lookup-by-host?host=hello.test"
    assert ask(service, host, x_api_key="registry-key").status == 500
    config = {"tenantId": hello.tenant, "extensionId": hello.registry}
    path = "/api/internal/ext-runner/install-config"
    assert ask(service, path, config, x_runner_auth=TOKEN).status == 500
    logged = wait_for_line(service, "cannot read the configuration of an install")
    assert logged["level"] == "warning"
    assert logged["problem"] == "gateway-database-down"
    assert not [each for each in service.lines if "traceback" in each]


@pytest.mark.slow
def test_it_can_be_stopped(service: Gateway, line: Freezing, hello: Extension) -> None:
    assert ask(service, f"/api/ext/{hello.registry}/hello").status == 200
    line.flowing.clear()
    assert ask(service, f"/api/ext/{hello.registry}/hello").status == 503
    assert service.stop() == 0
