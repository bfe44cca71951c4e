"""`POST /v1/execute` and `/warmup`: what is read, what is refused, and the honest answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from .conftest import Start
from .service import Service

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
def service(start: Start) -> Service:
    return start()


def test_the_envelope(service: Service) -> None:
    for call in (CALL, FULL):
        answer = service.post("/v1/execute", call, ROUTING)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json == {
            "status": 501,
            "headers": {},
            "body_b64": None,
            "error": "execute_unsupported: this runner build serves UIs only",
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
