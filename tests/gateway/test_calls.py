"""Both gateways, row by row: what goes to the runner, and what comes back."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import replace
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
    assert "cache-control" not in answer.headers


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
    assert user.keys() == {"user_id", "user_email", "user_name", "user_type", "company_name"}


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
        config={"a": "text", "b": 2.0, "c": None, "d": {"e": [True, 1e-7]}, "f": "ü", "g": 1e21},
        secrets={"key": "value"},
    )
    service.call(f"/api/ext-proxy/{it.registry}/hello")
    body = runner.last.json
    assert body["context"]["config"] == {
        "a": "text",
        "b": "2",
        "c": "",
        "d": '{"e":[true,1e-7]}',
        "f": "ü",
        "g": "1e+21",
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
    assert envelope_ == {"algorithm": "inline/base64", "version": "secrets-1"}
    assert runner.last.headers["x-ext-config-version"] == "config-1"
    assert runner.last.headers["x-ext-secrets-version"] == "secrets-1"
    tables.sql(
        "UPDATE tenant_extension_install_secrets SET transit_key = 'k', transit_mount = 'm',"
        " expires_at = '2030-01-01 01:00:00+01'"
    )
    service.call(f"/api/ext/{it.registry}/hello")
    envelope_ = runner.last.json["secret_envelope"]
    assert (envelope_["key_path"], envelope_["mount"]) == ("k", "m")
    assert envelope_["expires_at"] == "2030-01-01T00:00:00.000Z"


def test_a_config_that_is_no_object(service: Gateway, tables: Database, runner: StubRunner) -> None:
    it = install(tables, OZ, config={})
    for given, wanted in (
        ('["a", null]', {"0": "a", "1": ""}),
        ('"{\\"a\\":1}"', {"a": "1"}),
        ('"a"', {}),
        ("null", {"from": "install"}),
    ):
        tables.sql("UPDATE tenant_extension_install_config SET config = %s", given)
        service.call(f"/api/ext/{it.registry}/hello")
        assert runner.last.json["context"]["config"] == wanted


@BOTH
def test_no_body_and_no_key_for_get(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str
) -> None:
    answer = service.call(f"{route_prefix}/{hello.slug}/hello", b"ignored", method="GET")
    assert answer.status == 200, answer.headers
    http = runner.last.json["http"]
    assert "body_b64" not in http
    assert "x-idempotency-key" not in runner.last.headers
    assert "x-idempotency-key" not in http["headers"]
    service.call(f"{PROXY}/{hello.slug}/hello", x_idempotency_key="k")
    assert runner.last.json["http"]["headers"]["x-idempotency-key"] == "k"


@BOTH
def test_a_head_is_not_a_get(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str
) -> None:
    url = f"{route_prefix}/{hello.slug}/hello"
    assert service.call(url, b"ignored", method="HEAD", x_request_id="r").status == 200
    http = runner.last.json["http"]
    assert (http["method"], http["body_b64"]) == ("HEAD", "")
    if route_prefix == DIRECT:
        assert runner.last.headers["x-idempotency-key"] == "r"
    else:
        assert uuid.UUID(http["headers"]["x-idempotency-key"])


@BOTH
def test_request_ids(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str
) -> None:
    url = f"{route_prefix}/{hello.slug}/hello"
    for given in ("x" * 255, "a b;c", "\u00fc"):
        assert service.call(url, x_request_id=given).status == 200
        body = runner.last.json
        assert body["context"]["request_id"] == body["http"]["headers"]["x-request-id"] == given
        assert runner.last.headers["x-request-id"] == given
    for headers in ({"x_request_id": ""}, {}):
        service.call(url, **headers)
        body = runner.last.json
        made = body["context"]["request_id"]
        assert uuid.UUID(made).version == 4
        seen = body["http"]["headers"].get("x-request-id")
        assert seen == (made if route_prefix == PROXY else headers.get("x_request_id"))
    asked = len(runner.asked)
    answer = service.call(url, x_request_id="x" * 256)
    denied(answer, 503, {"error": "access_policy_unavailable"}, "gateway-audit-refused")
    answer = service.call(f"{route_prefix}/{hello.slug}/items/%00")
    denied(answer, 503, {"error": "access_policy_unavailable"}, "gateway-audit-refused")
    assert len(runner.asked) == asked


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
    assert user[named] == "Oz"
    assert other not in user
    tables.sql("DELETE FROM tenants")
    service.call(f"{route_prefix}/{it.slug}/hello", x_algaenv_user="client")
    assert runner.last.json["user"][named] == ""


@BOTH
def test_whose_name_it_is(
    start: Start, tables: Database, runner: StubRunner, route_prefix: str
) -> None:
    it = install(tables, OZ, hooks=PORTAL)
    url = f"{route_prefix}/{it.slug}/hello"
    name = "company_name" if route_prefix == DIRECT else "client_name"
    service = start({})
    answer = service.call(url, x_algaenv_user="client")
    assert "client-name" in answer.headers["x-algaenv-product-fault"].split(", ")
    answer = service.call(url, x_algaenv_user="msp")
    assert "client-name" not in answer.headers.get("x-algaenv-product-fault", "")
    assert runner.last.json["user"][name] == "Oz"
    service = start({"faults_fixed": ["client-name"]})
    service.call(url, x_algaenv_user="client")
    assert runner.last.json["user"][name] == "Example Client"
    service.call(url, x_algaenv_user="msp")
    assert name not in runner.last.json["user"]


# Which method


@pytest.mark.parametrize(
    ("query", "body", "method", "left"),
    [
        ("?__method=put", b"x", "PUT", b"x"),
        ("?__method=get", b"x", "GET", None),
        ("?__method=post", b"x", "POST", b"x"),
        ("?__method=PUT&a=1&__method=PATCH", b"", "PATCH", b""),
        ("", b'{"__method": "delete", "a": "\xc3\xbc"}', "DELETE", b'{"a":"\xc3\xbc"}'),
        ("", b'{"\\u005f_method": "PUT", "a": "\xff"}', "PUT", b'{"a":"\xef\xbf\xbd"}'),
        ("", b'{"__method":"PUT","b":1.0,"2":1e-7,"1":-0}', "PUT", b'{"1":0,"2":1e-7,"b":1}'),
        ("", b'{"__method":"PUT","__method":"PATCH"}', "PATCH", None),
        ("?__method=PATCH", b'{"__method": "PUT", "a": 1}', "PATCH", b'{"a":1}'),
        ("?__method=PATCH", b'{"__method": "PUT"}', "PATCH", None),
        ("?__method=PATCH", b'{"__method": "BREW"}', "PATCH", b'{"__method": "BREW"}'),
        ("?__method=DELETE", b"", "DELETE", b""),
    ],
)
def test_override(
    *,
    service: Gateway,
    tables: Database,
    runner: StubRunner,
    query: str,
    body: bytes,
    method: str,
    left: bytes | None,
) -> None:
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    it = install(tables, OZ, endpoints=[(each, "/x") for each in methods])
    assert service.call(f"{PROXY}/{it.slug}/x{query}", body).status == 200
    http = runner.last.json["http"]
    assert http["method"] == method
    assert "__method" not in http["query"]
    assert http.get("body_b64") == (None if left is None else base64.b64encode(left).decode())


@pytest.mark.parametrize(
    ("route_prefix", "method", "body"),
    [
        (DIRECT, "POST", b'{"__method": "PUT"}'),
        (PROXY, "PATCH", b'{"__method": "PUT"}'),
        (PROXY, "POST", b'["__method"]'),
        (PROXY, "POST", b'{"__method": 7}'),
        (PROXY, "POST", b'{"__method": "HEAD"}'),
        (PROXY, "POST", b'{"__method": "BREW"}'),
        (PROXY, "POST", b'{"__method": " PUT"}'),
        (PROXY, "POST", b'{"__method": ""}'),
        (PROXY, "POST", b'\xef\xbb\xbf{"__method": "PUT"}'),
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


@pytest.mark.parametrize("named", ["", "HEAD", "OPTIONS", "BREW", "%20PUT"])
def test_a_name_that_is_no_method_stays(
    service: Gateway, hello: Extension, runner: StubRunner, named: str
) -> None:
    assert service.call(f"{PROXY}/{hello.slug}/hello?__method={named}", b"").status == 200
    http = runner.last.json["http"]
    assert (http["method"], http["query"]) == ("POST", {"__method": named.replace("%20", " ")})


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


UNUSABLE = {
    DIRECT: (502, {"error": "bad_gateway", "requestId": "r"}),
    PROXY: (503, {"error": "access_policy_unavailable"}),
}


@BOTH
@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_without_a_body(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str, status: int
) -> None:
    url = f"{route_prefix}/{hello.slug}/hello"
    runner.respond_with(envelope(status, None))
    answer = service.call(url)
    assert (answer.status, answer.body) == (status, b"")
    runner.respond_with(envelope(status, b""))
    answer = service.call(url, b"", x_request_id="r")
    if route_prefix == DIRECT:
        assert (answer.status, answer.body) == (status, b"")
    else:
        denied(answer, *UNUSABLE[PROXY], "gateway-body-not-allowed")
    runner.respond_with(envelope(status, b"x"))
    answer = service.call(url, x_request_id="r")
    denied(answer, *UNUSABLE[route_prefix], "gateway-body-not-allowed")
    assert answer.headers["x-algaenv-product-fault"] == "bodiless-body"
    assert answer.headers["x-algaenv-reason"].startswith("cannot pass on the body")


@BOTH
@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_without_a_body_mended(
    start: Start, hello: Extension, runner: StubRunner, route_prefix: str, status: int
) -> None:
    service = start({"faults_fixed": ["bodiless-body"]})
    for body in (b"x", b""):
        runner.respond_with(envelope(status, body))
        answer = service.call(f"{route_prefix}/{hello.slug}/hello")
        assert (answer.status, answer.body) == (status, b"")


@BOTH
@pytest.mark.parametrize("status", [0, 99, 101, 199, 600, 65535, -1])
def test_statuses_that_are_none(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str, status: int
) -> None:
    runner.respond_with(envelope(status, b"x"))
    answer = service.call(f"{route_prefix}/{hello.slug}/hello", x_request_id="r")
    if route_prefix == DIRECT and status == 0:
        # It counts as missing there, and the runner's own is taken.
        assert (answer.status, answer.body) == (200, b"x")
    else:
        denied(answer, *UNUSABLE[route_prefix], "gateway-status-invalid")


@pytest.mark.parametrize("document", ["null", "7", "[1]", '"x"', "{}", '\ufeff{"status": null}'])
def test_answers_that_lack_everything(
    service: Gateway, hello: Extension, runner: StubRunner, document: str
) -> None:
    runner.respond_with(StubResponse(200, document.encode()))
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    assert (answer.status, answer.body) == (200, b"")
    assert "content-type" not in answer.headers
    answer = service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="r")
    if document == "null":
        denied(answer, *UNUSABLE[DIRECT], "gateway-runner-refused")
    else:
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("body", "proxied", "direct"),
    [
        ('"!!!not base64"', b"\x9e\x8b\x5b\x6a\xc7\xba", b"\x9e\x8b\x5b\x6a\xc7\xba"),
        ('"-_8="', b"\xfb\xff", b"\xfb\xff"),
        ("0", b"", b""),
        ("5", b"", None),
        ("{}", b"", None),
        ('{"a":1}', b"", None),
    ],
)
def test_bodies_that_are_no_base64(
    *,
    service: Gateway,
    hello: Extension,
    runner: StubRunner,
    body: str,
    proxied: bytes,
    direct: bytes | None,
) -> None:
    runner.respond_with(StubResponse(200, f'{{"status":200,"body_b64":{body}}}'.encode()))
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    assert (answer.status, answer.body) == (200, proxied)
    answer = service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="r")
    if direct is None:
        denied(answer, *UNUSABLE[DIRECT], "gateway-runner-refused")
    else:
        assert (answer.status, answer.body) == (200, direct)


def test_lists_of_headers(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    given = {"Cache-Control": ["no-store", "max-age=5"], "X-Ext-Warning": ["a", None, 1.0], "x": 5}
    fields = {"status": 200, "headers": given, "body_b64": ""}
    runner.respond_with(StubResponse(200, json.dumps(fields).encode()))
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    assert answer.headers["cache-control"] == "no-store, max-age=5"
    assert answer.headers["x-ext-warning"] == "a, , 1"


@pytest.mark.parametrize("value", ["a\nb", "a\r\nset-cookie: x=y", "\u4e2d", "a\0b"])
def test_headers_that_are_none(
    service: Gateway, hello: Extension, runner: StubRunner, value: str
) -> None:
    runner.respond_with(envelope(200, b"x", {"content-type": "text/plain", "x-ext-warning": value}))
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    denied(answer, *UNUSABLE[PROXY], "gateway-header-invalid")
    assert "set-cookie" not in answer.headers
    # The direct gateway does not pass them on.
    assert service.call(f"{DIRECT}/{hello.slug}/hello").status == 200


def test_headers_of_latin_1(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    runner.respond_with(envelope(200, b"x", {"x-ext-warning": " caf\u00e9\n"}))
    answer = service.call(f"{PROXY}/{hello.slug}/hello")
    assert (answer.status, answer.headers["x-ext-warning"]) == (200, "caf\u00e9")


def test_reasons_that_would_split_the_answer(
    service: Gateway, hello: Extension, runner: StubRunner
) -> None:
    evil = "a\r\nset-cookie: x=y"
    runner.respond_with(
        envelope(
            500,
            error=f"execute_failed: {evil}\u0100" + "x" * 9000,
            failure={"kind": "trap", "reason": evil, "causes": [], "stderr": ["one", evil]},
        )
    )
    answer = service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="ok")
    assert answer.status == 500
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-algaenv-error"].startswith("execute_failed: a set-cookie: x=y?xxx")
    assert len(answer.headers["x-algaenv-error"]) == 500
    assert answer.headers["x-algaenv-reason"] == "a set-cookie: x=y"
    assert answer.headers["x-algaenv-stderr"] == "a set-cookie: x=y"


# What the product hides


@BOTH
def test_a_handler_that_runs_from_source_is_told(
    service: Gateway, hello: Extension, runner: StubRunner, route_prefix: str
) -> None:
    for headers in ({"x-algaenv-runs-from": "source"}, {}):
        runner.respond_with(replace(envelope(200), headers=headers))
        answer = service.call(f"{route_prefix}/{hello.slug}/hello")
        assert answer.status == 200
        assert answer.headers.get("x-algaenv-runs-from") == headers.get("x-algaenv-runs-from")


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
        (StubResponse(302, b"{}", {"location": "/elsewhere"}), 502),
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
    denied(answer, proxied, body, "gateway-runner-refused")


def test_no_runner(start: Start, hello: Extension) -> None:
    service = start(RUNNER_BASE_URL=f"http://127.0.0.1:{free_port()}/")
    answer = service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="r")
    denied(answer, 502, {"error": "bad_gateway", "requestId": "r"}, "gateway-runner-down")
    answer = service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="r")
    denied(answer, 502, {"error": "bad_gateway", "requestId": "r"}, "gateway-runner-down")


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
        answer = service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="r")
        denied(answer, 502, {"error": "bad_gateway", "requestId": "r"}, "gateway-timeout")
    finally:
        done.set()


# Bundles


def test_no_bundle(service: Gateway, hello: Extension, tables: Database) -> None:
    tables.sql("DELETE FROM extension_bundle")
    answer = service.call(f"{DIRECT}/{hello.slug}/hello")
    denied(answer, 404, {"error": "not_installed"}, "gateway-bundle-missing")
    answer = service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="r")
    denied(answer, 502, {"error": "bad_gateway", "requestId": "r"}, "gateway-bundle-missing")


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
