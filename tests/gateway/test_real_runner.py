"""A gateway before a genuine runner, with a genuine handler behind both."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.alga import OZ
from tests.gateway.apis.conftest import find_event
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension, install
from tests.gateway.test_calls import DIRECT, PORTAL, PROXY
from tests.guests import built
from tests.params import slow_params
from tests.runner.archives import bundle
from tests.runner.peers import Files, peer
from tests.runner.service import started
from tests.servers import Database

_FETCH: dict[str, Any] = {
    **{"method": "GET", "url": "http://me:secret@a.example/x?token=secret"},
    **{"headers": [], "body": None},
}
BOTH = pytest.mark.parametrize("route_prefix", [DIRECT, *slow_params(PROXY)])


@pytest.fixture
def scripted(tables: Database) -> tuple[Extension, Files]:
    """An extension that runs a script of the test, and the store that holds it."""
    made = bundle({"dist/main.wasm": built("script").read_bytes(), "ui/index.html": b"<p>hi"})
    found = install(
        tables,
        OZ,
        digest=made.digest,
        hooks=PORTAL,
        endpoints=[("POST", "/run"), ("GET", "/run")],
        config={"colour": "red"},
        secrets={"key": "value"},
        capabilities=["cap:secrets.get"],
    )
    files = Files()
    files.objects[made.key_of(OZ, found.registry)] = made.archive
    return found, files


@pytest.fixture
def whole(
    start: Start, scripted: tuple[Extension, Files], tmp_path: Path
) -> Iterator[tuple[Gateway, Extension]]:
    extension, files = scripted
    with peer(files.answer) as store:
        env = {
            "ALGA_AUTH_KEY": "k",
            "REGISTRY_BASE_URL": "http://127.0.0.1:1",
            "BUNDLE_STORE_BASE": store.url,
            "EXT_CACHE_ROOT": str(tmp_path / "cache"),
            "EXT_STATIC_STRICT_VALIDATION": "false",
            "RUNNER_TRACE_CALLS": "true",
        }
        with started(env) as runner:
            url = f"http://127.0.0.1:{runner.port}"
            yield start(RUNNER_BASE_URL=url, EXT_GATEWAY_TIMEOUT_MS="20000"), extension


def script(fields: object) -> bytes:
    return json.dumps(fields).encode()


def results(body: bytes) -> list[Any]:
    found: list[Any] = json.loads(body)["results"]
    return found


@BOTH
def test_a_handler_sees_all(whole: tuple[Gateway, Extension], route_prefix: str) -> None:
    service, it = whole
    calls = [{"fn": "secrets.get", "args": ["key"]}, {"fn": "user.get-user", "args": []}]
    answer = service.call(
        f"{route_prefix}/{it.slug}/run?a=%26&b=ü".replace("ü", "%C3%BC"),
        script({"calls": calls}),
        x_algaenv_user="client",
    )
    assert answer.status == 200, answer
    response = answer.json
    assert response["context"]["tenant_id"] == OZ
    assert response["context"]["install_id"] == it.install
    assert response["request"]["url"] == "/run?a=%26&b=%C3%BC"
    assert response["results"][0] == {"ok": "value"}
    user = response["results"][1]["ok"]
    # The name is the tenant's, as in the product.
    assert (user["user_type"], user["client_name"]) == ("client", "Oz")


def test_a_caller_who_asks_and_the_events_are_told_what_a_call_did(
    whole: tuple[Gateway, Extension],
) -> None:
    service, it = whole
    calls = [
        {"fn": "logging.log-info", "args": ["one"]},
        {"fn": "secrets.get", "args": ["key"]},
        {"fn": "secrets.get", "args": ["absent"]},
        {"fn": "http.fetch", "args": [_FETCH]},
    ]
    content = script({"calls": calls, "stderr": ["a\n", "b\n"]})
    path = f"{PROXY}/{it.slug}/run"
    assert "x-algaenv-trace" not in service.call(path, content).headers
    trace = json.loads(service.call(path, content, x_algaenv_trace="1").headers["x-algaenv-trace"])
    assert set(trace["times"]) == {"queued", "load", "instantiate", "run", "waiting"}
    assert (trace["lines"], trace["more"]) == (3, 0)
    shown = [(name, error, about) for name, *_, error, _lines, about in trace["calls"]]
    assert shown == [
        ("secrets.get", "", "key"),
        ("secrets.get", "missing", "absent"),
        ("http.fetch", "transport", "GET http://a.example/x"),
    ]
    # What is written to stderr is read at the next tick.
    assert all(1 <= each[6] <= 3 for each in trace["calls"])
    _, at, ms, sent, received, *_ = trace["calls"][0]
    assert (sent, received) == (len("key"), len("value"))
    # It is counted from the begin of the call, which has waited for its turn and its component.
    before = sum(trace["times"][it] for it in ("queued", "load", "instantiate"))
    assert 0 <= at < before + trace["times"]["run"] + 1
    assert ms >= 0
    assert "secret" not in json.dumps(trace["calls"][2])
    event = find_event(service, it, "call-ended")
    assert event["trace"]["lines"] == 3

    many = script({"calls": [calls[1]] * 300})
    trace = json.loads(service.call(path, many, x_algaenv_trace="1").headers["x-algaenv-trace"])
    assert len(trace["calls"]) + trace["more"] == 300
    assert len(trace["calls"]) > 50
    trapped = script({"calls": [calls[1]], "then": "trap"})
    answer = service.call(path, trapped, x_algaenv_trace="1")
    assert answer.status == 500
    assert len(json.loads(answer.headers["x-algaenv-trace"])["calls"]) == 1


@BOTH
def test_what_a_handler_says(whole: tuple[Gateway, Extension], route_prefix: str) -> None:
    service, it = whole
    headers = [["content-type", "text/plain"], ["x-ext-warning", "careful"]]
    respond = {"status": 418, "headers": headers, "body_b64": base64.b64encode(b"\xff").decode()}
    answer = service.call(f"{route_prefix}/{it.slug}/run", script({"respond": respond}))
    assert (answer.status, answer.body) == (418, b"\xff")
    kind = "text/plain" if route_prefix == PROXY else "application/json"
    assert answer.headers["content-type"] == kind


@BOTH
def test_a_trap(whole: tuple[Gateway, Extension], route_prefix: str) -> None:
    service, it = whole
    details = script({"stderr": ["last words\n"], "then": "trap"})
    answer = service.call(
        f"{route_prefix}/{it.slug}/run", details, accept="application/problem+json"
    )
    assert answer.status == 500
    assert answer.headers["x-algaenv-error"].startswith("execute_failed: ")
    assert "unreachable" in answer.headers["x-algaenv-reason"]
    assert answer.headers["x-algaenv-stderr"] == "last words"
    assert answer.json["problem"]["stderr"] == ["last words"]


def test_the_page(whole: tuple[Gateway, Extension]) -> None:
    service, it = whole
    path = f"/ext-ui/{it.registry}/sha256%3A{it.digest.hex}/index.html?tenant={OZ}"
    answer = service.call(f"/runner{path}")
    assert (answer.status, answer.body) == (200, b"<p>hi")
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_body_that_the_runner_refuses(whole: tuple[Gateway, Extension]) -> None:
    service, it = whole
    answer = service.call(f"{DIRECT}/{it.slug}/run", b"x" * (2 << 20))
    assert answer.status == 502
    assert "said 413" in answer.headers["x-algaenv-error"]
    assert "1.5 MB" in answer.headers["x-algaenv-hint"]
