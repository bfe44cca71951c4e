"""The rate limit of the product, and the debug stream, on a Redis of a test's own."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.alga import OZ
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension
from tests.gateway.test_calls import BOTH, DIRECT, PROXY, denied
from tests.runner.observability.fake_redis import Server, running
from tests.servers import free_port

LIMITED = {"rate_limit": "product"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


def test_sixty_and_one_a_second(start: Start, hello: Extension, redis: Server) -> None:
    service = start(LIMITED, RUNNER_DEBUG_REDIS_URL=redis.url)
    url = f"{DIRECT}/{hello.slug}/hello"
    began = time.monotonic()
    allowed = 0
    while (answer := service.call(url)).status == 200:
        allowed += 1
    took = time.monotonic() - began
    assert 60 <= allowed <= 60 + took + 1
    denied(answer, 429, {"error": "rate_limited"}, "gateway-rate-limited")
    assert answer.headers["retry-after"] == "1"
    assert service.call(f"{PROXY}/{hello.slug}/hello").status == 429
    # Refusals cost nothing: those who wait get their turn.
    until = time.monotonic() + 10
    while service.call(url).status == 429:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_call_that_is_refused_anyway_costs_nothing(
    start: Start, hello: Extension, redis: Server
) -> None:
    service = start(LIMITED, RUNNER_DEBUG_REDIS_URL=redis.url)
    for _ in range(70):
        assert service.call(f"{DIRECT}/{hello.slug}/nothing").status == 404
    assert service.call(f"{DIRECT}/{hello.slug}/hello").status == 200


@BOTH
@pytest.mark.parametrize("given", [True, False])
def test_no_redis(start: Start, hello: Extension, route_prefix: str, given: bool) -> None:
    url = f"redis://:hidden@127.0.0.1:{free_port()}"
    service = start(LIMITED, **({"RUNNER_DEBUG_REDIS_URL": url} if given else {}))
    answer = service.call(f"{route_prefix}/{hello.slug}/hello")
    denied(answer, 503, {"error": "access_policy_unavailable"}, "gateway-redis-down")
    assert "hidden" not in str(answer)


@contextmanager
def _stream(service: Gateway, query: str, **headers: str) -> Iterator[Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)) as link:
        link.request("GET", f"/api/ext-debug/stream{query}", headers=headers)
        yield link.getresponse()


def _next(answer: Any) -> dict[str, str]:
    while line := answer.readline():
        if line.startswith(b"data: "):
            found: dict[str, str] = json.loads(line[6:])
            return found
    raise AssertionError("the stream ended")


def test_debug_stream(start: Start, hello: Extension, redis: Server) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url, RUNNER_DEBUG_REDIS_STREAM_PREFIX="Own:")
    key = f"own:{OZ}:{hello.registry}"

    def say(message: str, **fields: str) -> None:
        with closing(redis.client()) as client:
            client.xadd(key, {"level": "info", "message": message, **fields})

    say("past")
    with _stream(service, f"?extensionId={hello.slug}&tenantId={OZ.upper()}") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert _next(answer)["message"] == "past"
        say("now")
        assert _next(answer)["message"] == "now"
    few = start(
        RUNNER_DEBUG_REDIS_URL=redis.url,
        RUNNER_DEBUG_REDIS_STREAM_PREFIX="Own:",
        EXT_DEBUG_SSE_TAIL_COUNT="1",
    )
    with _stream(few, f"?extensionId={hello.registry}") as answer:
        assert _next(answer)["message"] == "now"
    with _stream(service, f"?extensionId={hello.registry}&tail=0&requestId=r2") as answer:
        assert answer.readline()
        say("no", request="r1")
        say("yes", request="r2")
        assert _next(answer)["message"] == "yes"


def test_debug_stream_refusals(start: Start, hello: Extension, redis: Server) -> None:
    users = {"a": {}, "none": {"permissions": []}, "portal": {"type": "client"}}
    service = start({"users": users}, RUNNER_DEBUG_REDIS_URL=redis.url)
    url = f"/api/ext-debug/stream?extensionId={hello.registry}"
    assert service.call(url, x_algaenv_user="who").status == 401
    assert service.call(url, x_algaenv_user="none").status == 403
    assert service.call(url, x_algaenv_user="portal").status == 403
    assert service.call(f"{url}&tenantId=other").status == 403
    assert service.call("/api/ext-debug/stream").status == 400
    redis.stop()
    assert service.call(url).status == 503
    assert start().call(url).status == 503


def test_ready(start: Start, redis: Server) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url)
    assert service.call("/readyz").json["redis"] == "ok"
