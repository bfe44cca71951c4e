"""The rate limit of the product, and the debug stream, on a Redis of a test's own."""

from __future__ import annotations

import http.client
import json
import re
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


@pytest.mark.slow
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
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        link.request("GET", f"/api/ext-debug/stream{query}", headers=sent)
        yield link.getresponse()


def _next(answer: Any) -> dict[str, Any]:
    entry = b""
    while line := answer.readline():
        if line.startswith(b"id: "):
            entry = line[4:].strip()
        if line.startswith(b"data: "):
            found: dict[str, Any] = json.loads(line[6:])
            return {**found, "entry": entry.decode()}
    raise AssertionError("the stream ended")


def test_debug_stream(start: Start, hello: Extension, redis: Server) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url, RUNNER_DEBUG_REDIS_STREAM_PREFIX="Own:")
    key = f"Own:{OZ}:{hello.registry}"

    def say(message: str, **fields: str) -> None:
        with closing(redis.client()) as client:
            client.xadd(key, {"level": "info", "message": message, **fields})

    say("past")
    url = f"?extensionId={hello.registry.upper()}&tenantId={OZ.upper()}"
    with _stream(service, url) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        past = _next(answer)
        assert past["message"] == "past"
        say("now")
        assert _next(answer)["message"] == "now"
    few = start(
        RUNNER_DEBUG_REDIS_URL=redis.url,
        RUNNER_DEBUG_REDIS_STREAM_PREFIX="Own:",
        EXT_DEBUG_SSE_TAIL_COUNT="1",
    )
    with _stream(few, f"?extensionId={hello.registry}") as answer:
        assert _next(answer)["message"] == "now"
    with _stream(few, f"?extensionId={hello.registry}", last_event_id=past["entry"]) as answer:
        assert _next(answer)["message"] == "now"
    for tail in ("9" * 5_000, f"{'0' * 5_000}2"):
        with _stream(service, f"?extensionId={hello.registry}&tail={tail}") as answer:
            assert _next(answer)["message"] == "past"
    with _stream(service, f"?extensionId={hello.registry}&tail=0&requestId=%20R2") as answer:
        assert answer.readline()
        say("no", request="r1")
        say("yes", request="r2")
        assert _next(answer)["message"] == "yes"


def test_events_of_the_debug_stream(start: Start, hello: Extension, redis: Server) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url)
    whole = {
        "ts": "2030-01-01T00:00:00.000Z",
        "level": "error",
        "stream": "stderr",
        "tenant": "t",
        "extension": "e",
        "install": "I",
        "request": "R",
        "version": "v",
        "content_hash": "sha256:0",
        "message": "m",
        "truncated": "1",
        "more": "x",
    }
    with closing(redis.client()) as client:
        for fields in (whole, {"message": "bare", "truncated": "0"}):
            client.xadd(f"ext-debug:{OZ}:{hello.registry}", fields)
    with _stream(service, f"?extensionId={hello.registry}") as answer:
        first, second = _next(answer), _next(answer)
    assert first.pop("entry")
    assert first == {
        "ts": "2030-01-01T00:00:00.000Z",
        "level": "error",
        "stream": "stderr",
        "tenantId": "t",
        "extensionId": "e",
        "installId": "I",
        "requestId": "R",
        "versionId": "v",
        "contentHash": "sha256:0",
        "message": "m",
        "truncated": True,
    }
    assert second.pop("entry")
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z", second.pop("ts"))
    assert second == {
        "level": "info",
        "stream": "log",
        "tenantId": OZ,
        "extensionId": hello.registry,
        "message": "bare",
        "truncated": False,
    }


def test_the_debug_stream_is_polled(start: Start, hello: Extension, redis: Server) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url)
    url = f"/api/ext-debug/stream?extensionId={hello.registry}"
    assert service.call(url, b"").json == {"events": [], "lastId": "0"}
    with closing(redis.client()) as client:
        for number in range(120):
            client.xadd(f"ext-debug:{OZ}:{hello.registry}", {"message": str(number)})
    answer = service.call(url, b"no JSON").json
    assert [it["message"] for it in answer["events"]] == [str(it) for it in range(100)]
    body = json.dumps({"lastId": answer["lastId"]}).encode()
    answer = service.call(url, body).json
    assert len(answer["events"]) == 20
    body = json.dumps({"lastId": answer["lastId"]}).encode()
    assert service.call(url, body).json == {"events": [], "lastId": answer["lastId"]}
    assert len(service.call(f"{url}&requestId=x", b"[]").json["events"]) == 0
    for wrong in (b"null", b'{"lastId": 5}', b'{"lastId": "x"}'):
        answer = service.call(url, wrong)
        assert (answer.status, answer.json) == (500, {"error": "Internal error"})
    in_body = json.dumps({"extensionId": hello.registry}).encode()
    assert service.call("/api/ext-debug/stream", in_body).status == 400
    assert service.call(url, b"x" * 70_000).status == 413


def test_a_poll_goes_on_after_many_entries_of_one_millisecond(
    start: Start, hello: Extension, redis: Server
) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url)
    url = f"/api/ext-debug/stream?extensionId={hello.registry}"
    with closing(redis.client()) as client:
        for number in range(120):
            key, fields = f"ext-debug:{OZ}:{hello.registry}", {"message": str(number)}
            client.xadd(key, fields, id=f"5-{number + 1}")
    first = service.call(url, b"{}").json
    assert first["lastId"] == "5-100"
    last = service.call(url, json.dumps({"lastId": first["lastId"]}).encode()).json
    assert [it["message"] for it in last["events"]] == [str(it) for it in range(100, 120)]
    assert last["lastId"] == "5-120"


def test_debug_stream_refusals(start: Start, hello: Extension, redis: Server) -> None:
    users = {"a": {}, "none": {"permissions": []}, "portal": {"type": "client"}}
    service = start({"users": users}, RUNNER_DEBUG_REDIS_URL=redis.url)
    url = f"/api/ext-debug/stream?extensionId={hello.registry}"
    assert service.call(url, x_algaenv_user="who").status == 401
    for user in ("none", "portal"):
        answer = service.call(url, x_algaenv_user=user)
        assert (answer.status, answer.json) == (403, {"error": "Forbidden"})
    assert service.call(url, b"", x_algaenv_user="none").status == 403
    for query in ("", "?extensionId="):
        answer = service.call(f"/api/ext-debug/stream{query}", x_algaenv_user="who")
        assert (answer.status, answer.json) == (400, {"error": "extensionId is required"})
    redis.stop()
    assert service.call(url).status == 503
    assert start().call(url).status == 503


def test_ready(start: Start, redis: Server) -> None:
    service = start(RUNNER_DEBUG_REDIS_URL=redis.url)
    assert service.call("/readyz").json["redis"] == "ok"
