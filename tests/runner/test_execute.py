"""`POST /v1/execute` and `/warmup`: what is read, what is refused, and what is answered."""

from __future__ import annotations

import base64
import copy
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.guests import built
from tests.guests.native import put_native_code

from .archives import EXTENSION, TENANT, Bundle, bundle
from .conftest import Start
from .peers import Files
from .service import Answer, Service

ROUTING = {"x-alga-tenant": "tenant-1", "x-alga-extension": "ext-1"}
CALL: dict[str, Any] = {
    "context": {"tenant_id": "t", "extension_id": "e", "content_hash": "sha256:dummy"},
    "http": {"method": "POST", "path": "/foo"},
}
FULL: dict[str, Any] = {
    "context": {
        **CALL["context"],
        "request_id": None,
        "install_id": "i",
        "version_id": None,
        "config": {"a": "b"},
        "trigger": "schedule",
    },
    "http": {**CALL["http"], "query": {"a": "b"}, "headers": {}, "body_b64": None},
    "limits": {"timeout_ms": 2**64 - 1, "memory_mb": None, "fuel": 0},
    "secret_envelope": {"ciphertext_b64": "", "version": None},
    "providers": ["cap:log.emit"],
    "user": {
        "user_id": "1",
        "user_email": "2",
        "user_name": "3",
        "user_type": "4",
        "company_name": "5",
        "client_id": None,
        "additional_fields": {"a": "b"},
    },
    "endpoint": 5,
}


@pytest.fixture
def service(reuse: Start) -> Service:
    return reuse()


def test_a_bundle_that_cannot_be(service: Service) -> None:
    for call in (CALL, FULL):
        answer = service.post("/v1/execute", call, ROUTING)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json == {
            "status": 502,
            "headers": {},
            "body_b64": None,
            "error": "bundle_fetch_failed: content hash is not sha256 of 64 hexadecimal digits",
        }


@pytest.mark.parametrize(
    "routing",
    [
        {},
        {"x-alga-tenant": "t"},
        {"x-alga-extension": "e"},
        {"x-alga-tenant": "", "x-alga-extension": "e"},
        {"x-alga-tenant": "t", "x-alga-extension": "\xe9"},
    ],
)
def test_routing_headers(service: Service, routing: dict[str, str]) -> None:
    answer = service.post("/v1/execute", CALL, routing)
    assert answer.status == 200
    assert answer.json == {
        "status": 400,
        "headers": {},
        "body_b64": None,
        "error": "missing_routing_headers",
    }


@pytest.mark.parametrize("path", ["/v1/execute", "/warmup"])
@pytest.mark.parametrize(
    ("kind", "body", "status", "beginning"),
    [
        (None, b"{}", 415, "Expected request with `Content-Type: application/json`"),
        ("text/plain", b"{}", 415, "Expected request with"),
        ("application/json", b"", 400, "Failed to parse the request body as JSON: "),
        ("application/json", b'{"context":', 400, "Failed to parse the request body as JSON: "),
        ("application/json", b"\xff", 400, "Failed to parse the request body as JSON: "),
        ("Application/LD+json; charset=utf-8", b"{}", 422, "Failed to deserialize the JSON body"),
        ("application/json", b"7", 422, "Failed to deserialize the JSON body"),
        ("application/json", b" " * (2 * 1024 * 1024 + 1), 413, "Failed to buffer the request"),
        ("application/json", b" " * (2 * 1024 * 1024), 400, "Failed to parse the request body"),
    ],
)
def test_bodies(
    service: Service, *, path: str, kind: str | None, body: bytes, status: int, beginning: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = service.ask(path, headers, method="POST", body=body)
    assert answer.status == status
    assert answer.body.decode().startswith(beginning)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("context", None),
        ("context.tenant_id", None),
        ("context.content_hash", 5),
        ("context.config", None),
        ("context.config", {"a": 1}),
        ("http.method", None),
        ("http.query", [["a", "b"]]),
        ("limits", None),
        ("limits.timeout_ms", -1),
        ("limits.timeout_ms", 5.0),
        ("limits.timeout_ms", "5"),
        ("limits.timeout_ms", 2**64),
        ("limits.memory_mb", True),
        ("providers", None),
        ("providers", [1]),
        ("secret_envelope.ciphertext_b64", None),
        ("user.user_id", None),
        ("user.client_name", "and company_name"),
    ],
)
def test_shapes_that_are_refused(service: Service, place: str, value: object) -> None:
    call = copy.deepcopy(FULL)
    where = call
    *parents, last = place.split(".")
    for parent in parents:
        where = where[parent]
    where[last] = value
    answer = service.post("/v1/execute", call, ROUTING)
    assert answer.status == 422
    words = answer.body.decode()
    assert words.startswith("Failed to deserialize the JSON body into the target type: ")
    assert "cap:log.emit" not in words


def test_warmup(service: Service) -> None:
    answer = service.post("/warmup", {"content_hash": "sha256:abc", "more": 1})
    assert answer.status == 400
    assert answer.body == b"warmup unsupported without tenant + extension context"
    assert service.post("/warmup", {"content_hash": None}).status == 422


@pytest.fixture
def scripted(files: Files) -> Bundle:
    """A bundle whose handler does what the body of a request says, in the file server."""
    made = bundle({"dist/main.wasm": built("script").read_bytes()})
    files.objects[made.key] = made.archive
    return made


@pytest.fixture
def compiled(scripted: Bundle, tmp_path: Path) -> Bundle:
    """The same, and the services that `start` starts find it compiled."""
    put_native_code(tmp_path / "cache", built("script"))
    return scripted


def _ask(service: Service, made: Bundle, script: object, **more: object) -> Answer:
    body = base64.b64encode(json.dumps(script).encode()).decode()
    call = {
        "context": {
            "tenant_id": TENANT,
            "extension_id": EXTENSION,
            "content_hash": made.digest.prefixed,
        },
        "http": {"method": "POST", "path": "/", "body_b64": body},
        **more,
    }
    return service.post(
        "/v1/execute", call, {"x-alga-tenant": TENANT, "x-alga-extension": EXTENSION}
    )


def test_warmup_compiles_and_a_call_finds_it_done(start: Start, scripted: Bundle) -> None:
    service = start()
    wanted = {
        "tenant": TENANT,
        "extension": EXTENSION,
        "content_hash": scripted.digest.prefixed,
    }
    answer = service.post("/warmup", wanted)
    assert answer.status == 200
    assert answer.json.items() >= {"status": "ready", "handler": True, "bundle": "fetched"}.items()
    service.line("compiled")
    again = service.post("/warmup", wanted)
    assert again.json["bundle"] == "cached"
    # What a missing `timeout_ms` means: the usual limit, and not the end of the guest.
    text = _ask(service, scripted, {"respond": {"status": 201, "body": "warm"}})
    assert text.json == {"status": 201, "headers": {}, "body_b64": "d2FybQ==", "error": None}
    assert not [line for line in service.lines if line["event"] == "compiled"][1:]


def test_warmup_tells_what_cannot_run(reuse: Start, files: Files) -> None:
    service = reuse()
    broken = bundle({"dist/main.wasm": b"(component)", "ui/index.html": b"x"})
    files.objects[broken.key] = broken.archive
    routing = {"x-alga-tenant": TENANT, "x-alga-extension": EXTENSION}
    answer = service.post("/warmup", {"content_hash": broken.digest.prefixed}, routing)
    assert answer.status == 422
    assert answer.json["code"] == "execute_failed"
    assert answer.json["failure"]["kind"] == "malformed"
    gone = service.post("/warmup", {"content_hash": "ab" * 32}, routing)
    assert gone.status == 502
    assert gone.json["code"] == "bundle_fetch_failed"


def test_a_bundle_without_a_handler_is_warm(reuse: Start, demo: Bundle) -> None:
    routing = {"x-alga-tenant": TENANT, "x-alga-extension": EXTENSION}
    answer = reuse().post("/warmup", {"content_hash": demo.digest.prefixed}, routing)
    assert answer.status == 200
    assert answer.json["handler"] is False


@pytest.mark.slow
def test_past_the_queue(start: Start, compiled: Bundle) -> None:
    service = start(RUNNER_CONCURRENCY="1", RUNNER_QUEUE="1")
    _ask(service, compiled, {})
    spin = {"calls": [{"fn": "clock.sleep", "args": [1500]}]}
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(_ask, service, compiled, spin) for _ in range(4)]
        answers = [each.result() for each in asked]
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200, 200, 503, 503]
    for answer in answers:
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json["status"] == 503
            assert answer.json["error"].startswith("overloaded: ")
    assert _ask(service, compiled, {}).json["status"] == 200


def test_a_caller_who_leaves_ends_the_guest(start: Start, compiled: Bundle) -> None:
    service = start(RUNNER_CONCURRENCY="1", RUNNER_QUEUE="0")
    _ask(service, compiled, {})
    with pytest.raises(TimeoutError):
        _leave(service, compiled, {"then": "loop"})
    until = time.monotonic() + 10
    while (answer := _ask(service, compiled, {})).status == 503 and time.monotonic() < until:
        pass
    assert answer.json["status"] == 200


def _leave(service: Service, made: Bundle, script: object) -> None:
    body = base64.b64encode(json.dumps(script).encode()).decode()
    call = {
        "context": {
            "tenant_id": TENANT,
            "extension_id": EXTENSION,
            "content_hash": made.digest.prefixed,
        },
        "http": {"method": "POST", "path": "/", "body_b64": body},
        "limits": {"timeout_ms": 60_000},
    }
    headers = {
        "content-type": "application/json",
        "x-alga-tenant": TENANT,
        "x-alga-extension": EXTENSION,
    }
    service.ask("/v1/execute", headers, method="POST", body=json.dumps(call).encode(), timeout=0.5)


def test_a_stop_waits_for_calls(start: Start, compiled: Bundle) -> None:
    service = start()
    _ask(service, compiled, {})
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(
            _ask,
            service,
            compiled,
            {
                "calls": [
                    {"fn": "logging.log-info", "args": ["under way"]},
                    {"fn": "clock.sleep", "args": [700]},
                ],
                "respond": {"status": 202},
            },
        )
        service.line("guest", message="under way")
        assert service.stop() == 0
        assert asked.result().json["status"] == 202


def test_a_store_that_is_silent(start: Start, scripted: Bundle) -> None:
    service = start(BUNDLE_STORE_BASE="http://127.0.0.1:9/alga-ext")
    answer = _ask(service, scripted, {})
    assert answer.json["status"] == 502
    assert answer.json["error"].startswith("bundle_fetch_failed: ")


def test_warmth_is_for_all_workers(start: Start, compiled: Bundle) -> None:
    service = start(RUNNER_WORKERS="2")
    routing = {"x-alga-tenant": TENANT, "x-alga-extension": EXTENSION}
    wanted = {"content_hash": compiled.digest.prefixed}
    assert service.post("/warmup", wanted, routing).status == 200
    until = time.monotonic() + 10
    loaded = b"algaenv_runner_components_loaded 2.0"
    while loaded not in service.ask("/metrics").body and time.monotonic() < until:
        pass
    assert loaded in service.ask("/metrics").body
