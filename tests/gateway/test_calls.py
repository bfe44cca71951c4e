"""Both gateways, row by row: what goes to the runner, and what comes back."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from algaenv.bundle.digest import Digest
from tests.drivers.alga import OZ
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Answer, Gateway
from tests.gateway.seed import Extension, add_bundle, install
from tests.gateway.stub_runner import StubResponse, StubRunner, envelope
from tests.servers import Database, free_port

ROUTE_PREFIXES = ("/api/ext", "/api/ext-proxy")
BOTH = pytest.mark.parametrize("route_prefix", ROUTE_PREFIXES)
DIRECT, PROXY = ROUTE_PREFIXES
PORTAL = {"clientPortalMenu": {"label": " Hello "}}


def denied(answer: Answer, status: int, body: object, code: str) -> None:
    assert (answer.status, answer.json) == (status, body)
    assert answer.headers["x-algaenv-error"].startswith(f"{code}: cannot ")
    assert answer.headers["x-algaenv-hint"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


# What goes to the runner


def test_a_grant_takes_away_what_the_manifest_declares_if_wished(
    start: Start, tables: Database, runner: StubRunner
) -> None:
    it = install(tables, OZ, name="narrow", capabilities=["cap:secrets.get"], config={})
    defaults = {"cap:context.read", "cap:log.emit", "cap:user.read"}
    granted = defaults | {"cap:http.fetch", "cap:storage.kv"}
    for settings, wanted in (
        ({}, granted | {"cap:secrets.get"}),
        ({"faults_fixed": ["capabilities-union"]}, granted),
    ):
        service = start(settings)
        assert service.call(f"/api/ext/{it.registry}/hello").status == 200
        assert set(runner.last.json["providers"]) == wanted
    # An install that nobody granted anything has what its manifest declares.
    tables.sql("UPDATE tenant_extension_install SET granted_caps = 'null'")
    tables.sql("DELETE FROM tenant_extension_install_config")
    service.call(f"/api/ext/{it.registry}/hello")
    assert set(runner.last.json["providers"]) == defaults | {"cap:secrets.get"}


def test_a_runner_that_wants_a_token_is_shown_it_on_both_roads(
    start: Start, hello: Extension, runner: StubRunner
) -> None:
    service = start(RUNNER_INBOUND_TOKEN="inbound")
    for route_prefix in ("ext", "ext-proxy"):
        service.call(f"/api/{route_prefix}/{hello.registry}/hello?__user=msp")
        assert runner.last.headers["x-runner-service-token"] == "inbound"


def test_direct_request(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    answer = service.call(
        f"/api/ext/{hello.registry}/hello/?a=1&b=%26&a=2&__user=msp",
        b'{"x": 1}',
        x_request_id="req-1",
        accept="text/plain",
        content_type="application/json",
        user_agent="curl",
        cookie="secret=1",
        authorization="Bearer t",
        x_idempotency_key="key-1",
    )
    assert answer.status == 200, answer.headers
    asked = runner.last
    assert (asked.method, asked.target) == ("POST", "/v1/execute")
    sent = {name: asked.headers[name] for name in asked.headers if name.startswith("x-")}
    assert sent == {
        "x-request-id": "req-1",
        "x-alga-tenant": OZ,
        "x-alga-extension": hello.registry,
        "x-idempotency-key": "key-1",
    }
    assert asked.headers["content-type"] == "application/json"
    user = asked.json["user"]
    assert {k: v for k, v in asked.json.items() if k != "user"} == {
        "context": {
            "request_id": "req-1",
            "tenant_id": OZ,
            "extension_id": hello.registry,
            "install_id": hello.install,
            "version_id": hello.version,
            "content_hash": hello.digest.prefixed,
            "config": {"from": "install"},
        },
        "http": {
            "method": "POST",
            "path": "/hello",
            "query": {"a": "2", "b": "&"},
            "headers": {
                "x-request-id": "req-1",
                "accept": "text/plain",
                "content-type": "application/json",
                "user-agent": "curl",
                "x-alga-tenant": OZ,
                "x-alga-extension": hello.registry,
            },
            "body_b64": base64.b64encode(b'{"x": 1}').decode(),
        },
        "limits": {"timeout_ms": 30000},
        "providers": ["cap:context.read", "cap:log.emit", "cap:user.read", "cap:http.fetch"],
    }
    assert user["user_type"] == "internal"
    assert user.keys() == {"user_id", "user_email", "user_name", "user_type"}


def test_proxy_request(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    service.call(
        f"/api/ext-proxy/{hello.registry}/items/7?x=1", b"raw", method="PUT", x_idempotency_key="k"
    )
    asked = runner.last
    sent = {name: asked.headers[name] for name in asked.headers if name.startswith("x-")}
    request_id = sent.pop("x-request-id")
    assert uuid.UUID(request_id).version == 4
    assert sent == {
        "x-alga-tenant": OZ,
        "x-alga-extension": hello.registry,
        "x-ext-install-id": hello.install,
        "x-ext-version-id": hello.version,
        "x-ext-registry-id": hello.registry,
        "x-runner-service-token": "service-token",
    }
    body = asked.json
    assert body["endpoint"] == "ui-proxy:/items/7"
    assert body["http"]["url"] == body["http"]["path"] == "/items/7"
    assert body["http"]["query"] == {"x": "1"}
    assert body["http"]["headers"]["x-idempotency-key"] == "k"
    assert body["user"]["additional_fields"]["username"] == "admin"


def test_config_secrets_and_grants(service: Gateway, tables: Database, runner: StubRunner) -> None:
    it = install(
        tables,
        OZ,
        capabilities=["cap:Storage.KV ", "cap:odd"],
        config={"a": "text", "b": 2, "c": None, "d": {"e": [True]}, "f": "ü"},
        secrets={"key": "value"},
    )
    service.call(f"/api/ext-proxy/{it.registry}/hello")
    body = runner.last.json
    assert body["context"]["config"] == {
        "a": "text",
        "b": "2",
        "c": "",
        "d": '{"e":[true]}',
        "f": "ü",
    }
    assert body["providers"] == [
        "cap:context.read",
        "cap:log.emit",
        "cap:user.read",
        "cap:storage.kv",
        "cap:http.fetch",
    ]
    envelope_ = body["secret_envelope"]
    assert json.loads(base64.b64decode(envelope_.pop("ciphertext_b64"))) == {"key": "value"}
    assert envelope_ == {
        "algorithm": "inline/base64",
        "key_path": None,
        "mount": None,
        "version": "secrets-1",
        "expires_at": None,
    }
    assert runner.last.headers["x-ext-config-version"] == "config-1"
    assert runner.last.headers["x-ext-secrets-version"] == "secrets-1"


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_body_and_no_key_for_reads(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str, method: str
) -> None:
    answer = service.call(f"{route_prefix}/{hello.slug}/hello", b"ignored", method=method)
    assert answer.status == 200, answer.headers
    http = runner.last.json["http"]
    assert http["method"] == method
    assert "body_b64" not in http
    assert "x-idempotency-key" not in runner.last.headers
    assert "x-idempotency-key" not in http["headers"]


def test_keys_made_up(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    service.call(f"{DIRECT}/{hello.slug}/hello", b"", x_request_id="r")
    assert runner.last.headers["x-idempotency-key"] == "r"
    assert runner.last.json["http"]["body_b64"] == ""
    service.call(f"{PROXY}/{hello.slug}/hello", b"", x_request_id="r")
    assert "x-idempotency-key" not in runner.last.headers
    assert uuid.UUID(runner.last.json["http"]["headers"]["x-idempotency-key"]).version == 4


@BOTH
def test_the_client_of_a_portal_user(
    service: Gateway, tables: Database, runner: StubRunner, route_prefix: str
) -> None:
    it = install(tables, OZ, hooks=PORTAL)
    assert service.call(f"{route_prefix}/{it.slug}/hello", x_algaenv_user="client").status == 200
    user = runner.last.json["user"]
    assert user["user_type"] == "client"
    assert uuid.UUID(user["client_id"])
    named, other = ("company_name", "client_name")[:: 1 if route_prefix == DIRECT else -1]
    assert user[named] == "Example Client"
    assert other not in user


# Which method


@pytest.mark.parametrize(
    ("query", "body", "method", "left"),
    [
        ("?__method=put", b"x", "PUT", b"x"),
        ("?__method=get", b"x", "GET", None),
        ("", b'{"__method": "delete", "a": "\xc3\xbc"}', "DELETE", b'{"a":"\xc3\xbc"}'),
        ("?__method=PATCH", b'{"__method": "PUT"}', "PATCH", b'{"__method": "PUT"}'),
    ],
)
def test_override(
    *,
    service: Gateway,
    hello: Extension,
    runner: StubRunner,
    query: str,
    body: bytes,
    method: str,
    left: bytes | None,
) -> None:
    assert service.call(f"{PROXY}/{hello.slug}/items/1{query}", body).status == 200
    http = runner.last.json["http"]
    assert http["method"] == method
    assert http.get("body_b64") == (None if left is None else base64.b64encode(left).decode())


@pytest.mark.parametrize(
    ("route_prefix", "method", "body"),
    [
        (DIRECT, "POST", b'{"__method": "PUT"}'),
        (PROXY, "PATCH", b'{"__method": "PUT"}'),
        (PROXY, "POST", b'["__method"]'),
        (PROXY, "POST", b'{"__method": 7}'),
        (PROXY, "POST", b'{"__method"'),
    ],
)
def test_no_override(
    *,
    service: Gateway,
    tables: Database,
    runner: StubRunner,
    route_prefix: str,
    method: str,
    body: bytes,
) -> None:
    it = install(tables, OZ, endpoints=[("POST", "/x"), ("PATCH", "/x")])
    query = "?__method=PUT" if method == "PATCH" or route_prefix == DIRECT else ""
    assert service.call(f"{route_prefix}/{it.slug}/x{query}", body, method=method).status == 200
    http = runner.last.json["http"]
    assert (http["method"], base64.b64decode(http["body_b64"])) == (method, body)


@BOTH
@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW"])
def test_methods_nobody_has(
    service: Gateway, hello: Extension, route_prefix: str, method: str
) -> None:
    try:
        answer = service.call(f"{route_prefix}/{hello.slug}/hello", method=method)
    except OSError:
        return
    assert answer.status in {400, 405}


# What comes back


def test_direct_answer(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    runner.respond_with(envelope(201, b"<p>", {"Content-Type": "text/html", "X-Ext-Warning": "w"}))
    answer = service.call(f"{DIRECT}/{hello.slug}/hello")
    assert (answer.status, answer.body) == (201, b"<p>")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["etag"] == '"runner"'
    assert answer.headers["x-algaenv-product-fault"] == "direct-cacheable"
    assert float(answer.headers["x-algaenv-runner-ms"]) > 0
    assert answer.headers["x-algaenv-request-id"]
    assert "x-ext-warning" not in answer.headers


def test_direct_answer_mended(start: Start, hello: Extension, runner: StubRunner) -> None:
    runner.respond_with(envelope(200, b"<p>", {"Content-Type": "text/html"}))
    answer = start({"faults_fixed": ["direct-cacheable"]}).call(f"{DIRECT}/{hello.slug}/hello")
    assert answer.headers["content-type"] == "text/html"
    assert "cache-control" not in answer.headers
    assert "x-algaenv-product-fault" not in answer.headers


def test_proxy_answer(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    given = {
        "Content-Type": "text/html",
        "cache-control": "max-age=5",
        "X-Ext-Request-Id": "9",
        "x-ext-warning": "w",
        "etag": "e",
        "set-cookie": "a=b",
        "location": "http://elsewhere.example",
        "x-algaenv-error": "mine",
    }
    runner.respond_with(envelope(404, b"no", given))
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    assert (answer.status, answer.body) == (404, b"no")
    kept = ("content-type", "cache-control", "x-ext-request-id", "x-ext-warning")
    assert [answer.headers[name] for name in kept] == ["text/html", "max-age=5", "9", "w"]
    for name in ("etag", "set-cookie", "location", "x-algaenv-error", "x-algaenv-product-fault"):
        assert name not in answer.headers


@BOTH
@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str, status: int
) -> None:
    runner.respond_with(envelope(status, b"x"))
    answer = service.call(f"{route_prefix}/{hello.slug}/hello")
    assert (answer.status, answer.body) == (status, b"")


@BOTH
@pytest.mark.parametrize("status", [0, 99, 101, 199, 600, 65535, -1])
def test_statuses_that_are_none(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str, status: int
) -> None:
    runner.respond_with(envelope(status, b"x"))
    answer = service.call(f"{route_prefix}/{hello.slug}/hello")
    denied(answer, 503, {"error": "access_policy_unavailable"}, "gateway-status-invalid")


def test_headers_that_would_split_the_answer(
    service: Gateway, hello: Extension, runner: StubRunner
) -> None:
    evil = "a\r\nset-cookie: x=y"
    runner.respond_with(
        envelope(
            500,
            headers={"content-type": evil, "x-ext-warning": "a\nb", "cache-control": "\u0100"},
            error=f"execute_failed: {evil}\u0100" + "x" * 9000,
            failure={"kind": "trap", "reason": evil, "causes": [], "stderr": ["one", evil]},
        )
    )
    answer = service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="ok")
    assert answer.status == 500
    for name in ("set-cookie", "content-type", "x-ext-warning", "cache-control"):
        assert name not in answer.headers
    assert answer.headers["x-algaenv-error"].startswith("execute_failed: a set-cookie: x=y?xxx")
    assert len(answer.headers["x-algaenv-error"]) == 500
    assert answer.headers["x-algaenv-reason"] == "a set-cookie: x=y"
    assert answer.headers["x-algaenv-stderr"] == "a set-cookie: x=y"


# What the product hides


@BOTH
def test_a_trap_is_told(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str
) -> None:
    failure = {
        "kind": "trap",
        "reason": "wasm trap: unreachable",
        "causes": ["error while executing", "wasm trap: unreachable"],
        "stderr": ["about to fail", "panicked"],
    }
    runner.respond_with(
        envelope(500, error="execute_failed: error while executing", failure=failure)
    )
    answer = service.call(f"{route_prefix}/{hello.slug}/hello")
    assert (answer.status, answer.body) == (500, b"")
    assert answer.headers["x-algaenv-error"] == "execute_failed: error while executing"
    assert answer.headers["x-algaenv-reason"] == "wasm trap: unreachable"
    assert answer.headers["x-algaenv-stderr"] == "panicked"
    answer = service.call(
        f"{route_prefix}/{hello.slug}/hello",
        accept="application/problem+json, text/html",
        x_request_id=f"test-trap-{route_prefix}",
    )
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json["problem"]
    assert problem["code"] == "gateway-trap"
    assert problem["summary"].startswith("cannot ")
    assert problem["stderr"] == ["about to fail", "panicked"]
    line = service.line("request", request_id=f"test-trap-{route_prefix}")
    assert line["status"] == 500
    assert "gateway-trap" in line["why"]


@pytest.mark.parametrize(
    "error",
    [
        "missing_routing_headers",
        "unknown_capabilities: cap:x",
        "engine_init_failed: x",
        "bundle_fetch_failed: no main.wasm",
        "secret_decrypt_failed",
    ],
)
@BOTH
def test_runner_errors(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str, error: str
) -> None:
    runner.respond_with(envelope(502, error=error))
    answer = service.call(f"{route_prefix}/{hello.slug}/hello", accept="application/problem+json")
    assert answer.status == 502
    assert answer.headers["x-algaenv-error"] == error
    assert answer.json["problem"]["code"] == "gateway-runner-failed"
    assert error in answer.json["problem"]["summary"]


@pytest.mark.parametrize(
    ("response", "proxied"),
    [
        (StubResponse(400, b"Failed to parse"), 400),
        (StubResponse(413, b"length limit exceeded"), 413),
        (StubResponse(500, b""), 500),
        (StubResponse(503, b'{"status":503,"error":"overloaded: all places"}'), 503),
        (StubResponse(200, b""), 502),
        (StubResponse(200, b"<html>"), 502),
        (StubResponse(200, b"[]"), 502),
        (StubResponse(200, b'{"status":200,"body_b64":"%"}'), 502),
    ],
)
def test_a_runner_that_says_something_else(
    service: Gateway, hello: Extension, runner: StubRunner, response: StubResponse, proxied: int
) -> None:
    runner.respond_with(response)
    answer = service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="r")
    body: dict[str, Any] = {"error": "bad_gateway", "requestId": "r"}
    denied(answer, 502, body, "gateway-runner-refused")
    answer = service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="r")
    denied(answer, proxied, {"error": "bad_gateway"}, "gateway-runner-refused")


def test_no_runner(start: Start, hello: Extension) -> None:
    service = start(RUNNER_BASE_URL=f"http://127.0.0.1:{free_port()}/")
    answer = service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="r")
    denied(answer, 502, {"error": "bad_gateway", "requestId": "r"}, "gateway-runner-down")
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    denied(answer, 502, {"error": "bad_gateway"}, "gateway-runner-down")


def test_a_slow_handler(start: Start, hello: Extension, runner: StubRunner) -> None:
    import threading

    done = threading.Event()

    def slow(asked: object) -> StubResponse:
        done.wait(20)
        return envelope()

    runner.answer = slow
    # Long enough for the request to arrive on a machine that is busy.
    service = start(EXT_GATEWAY_TIMEOUT_MS="1000")
    try:
        answer = service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="r")
        denied(answer, 502, {"error": "bad_gateway", "requestId": "r"}, "gateway-timeout")
        assert runner.last.json["limits"] == {"timeout_ms": 1000}
        answer = service.call(f"{PROXY}/{hello.slug}/hello")
        denied(answer, 504, {"error": "Gateway timeout"}, "gateway-timeout")
    finally:
        done.set()


# Bundles


def test_no_bundle(service: Gateway, hello: Extension, tables: Database) -> None:
    tables.sql("DELETE FROM extension_bundle")
    answer = service.call(f"{DIRECT}/{hello.slug}/hello")
    denied(answer, 404, {"error": "not_installed"}, "gateway-bundle-missing")
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    denied(answer, 502, {"error": "bad_gateway"}, "gateway-bundle-missing")


def test_the_newest_bundle(
    service: Gateway, hello: Extension, tables: Database, runner: StubRunner
) -> None:
    newest = Digest.of(b"newest")
    add_bundle(tables, hello.version, Digest.of(b"older"), ago="1 hour")
    add_bundle(tables, hello.version, newest, ago="-1 hour")
    service.call(f"{DIRECT}/{hello.slug}/hello")
    assert runner.last.json["context"]["content_hash"] == newest.prefixed
    tables.sql(
        "UPDATE extension_bundle SET created_at = NULL WHERE content_hash = %s",
        hello.digest.prefixed,
    )
    service.call(f"{DIRECT}/{hello.slug}/hello")
    assert runner.last.json["context"]["content_hash"] == hello.digest.prefixed


# Sizes


def test_too_large(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    large = b"x" * (10 * 1024 * 1024)
    assert service.call(f"{DIRECT}/{hello.slug}/hello", large).status == 200
    assert len(runner.last.json["http"]["body_b64"]) > len(large)
    seen = len(runner.asked)
    answer = service.ask(
        f"{DIRECT}/{hello.slug}/hello",
        {"content-length": str(len(large) + 1)},
        method="POST",
    )
    denied(answer, 413, {"error": "payload_too_large"}, "gateway-body-too-large")
    assert len(runner.asked) == seen
    assert service.call(f"{PROXY}/{hello.slug}/hello", large + b"x").status == 200
