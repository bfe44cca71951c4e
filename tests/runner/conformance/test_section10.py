"""10: the cases of the original's own tests, in their order; the rest of them is in other files."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest

from tests.runner.archives import Bundle

from .asking import Runner
from .calls import DEFAULTS, Caller, b64, do, envelope
from .kinds import Kind, settle
from .packing import packed
from .pages import NO_STORE, Page
from .peers import Peers
from .profiles import ANCESTORS, CSP
from .stub import Reply, said

HELLO = b"<!doctype html><html><body>Hello UI</body></html>"
PAGES = {"ui/index.html": HELLO, "ui/assets/app.js": b"console.log('hi')"}
TENANT, EXTENSION = "tenant-a", "demo-ext"


@pytest.fixture
def page(runner: Runner, peers: Peers) -> Page:
    return _page(runner, peers, packed(PAGES))


def _page(runner: Runner, peers: Peers, made: Bundle) -> Page:
    peers.store.on(made.digest.hex, Reply(body=made.archive))
    return Page(runner, peers, made, TENANT, EXTENSION)


# 10.1


def test_10_1_1_cold_fetch_then_304(page: Page) -> None:
    warm = page.runner.post("/warmup", {"content_hash": page.bundle.digest.prefixed})
    assert warm.status == 400
    first = page.get()
    assert first.status == 200
    assert first.headers["content-type"].startswith("text/html")
    assert "immutable" in first.headers["cache-control"]
    assert page.get(headers={"if-none-match": first.headers["etag"]}).status == 304


def test_10_1_2_csp_and_nosniff(page: Page) -> None:
    index = page.get()
    policy = index.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors" not in policy
    assert index.headers["x-content-type-options"] == "nosniff"
    again = page.get(headers={"if-none-match": index.headers["etag"]})
    assert (again.status, again.headers["content-security-policy"]) == (304, policy)
    route = page.get("some/client/route")
    assert (route.status, route.headers["content-security-policy"]) == (200, policy)
    script = page.get("assets/app.js")
    assert script.status == 200
    assert "content-security-policy" not in script.headers
    assert script.headers["x-content-type-options"] == "nosniff"


@pytest.mark.profile("strict")
def test_10_1_2_frame_ancestors(page: Page) -> None:
    page.peers.app.on("validate", said({"valid": True}))
    policy = page.get().headers["content-security-policy"]
    assert policy.endswith(f"frame-ancestors {ANCESTORS}")


@pytest.mark.profile("configured")
def test_10_1_2_the_whole_policy(page: Page) -> None:
    assert page.get().headers["content-security-policy"] == CSP


@pytest.mark.profile("strict")
def test_10_1_3_strict_validation_denied(page: Page) -> None:
    page.peers.app.on("validate", said({"valid": False}))
    assert page.get().status == 404


def test_10_1_4_traversal(page: Page) -> None:
    assert page.get("../secret.txt").status == 400


@pytest.mark.profile("strict")
def test_10_1_5_oversize(runner: Runner, peers: Peers) -> None:
    peers.app.on("validate", said({"valid": True}))
    files = {"ui/index.html": HELLO, "ui/assets/big.png": bytes(128 * 1024)}
    big = _page(runner, peers, packed(files))
    warm = runner.post("/warmup", {"content_hash": big.bundle.digest.prefixed})
    assert warm.status == 400
    assert big.get("assets/big.png").status == 413


def test_10_1_6_archive_hash_mismatch(page: Page) -> None:
    whole = page.bundle.archive
    page.peers.store.on(page.bundle.digest.hex, Reply(body=bytes([whole[0] ^ 0xFF]) + whole[1:]))
    answer = page.get()
    assert (answer.status, answer.json["code"]) == (502, "archive_hash_mismatch")


def test_10_1_7_partial_extract_cleanup(runner: Runner, peers: Peers) -> None:
    broken = _page(runner, peers, Bundle(b"\x1f" * 1024))
    answer = broken.get()
    assert (answer.status, answer.json["code"]) == (500, "extract_failed")
    assert not (runner.cache / broken.bundle.digest.hex / "ui").exists()


def test_10_1_8_the_archive_is_verified(caller: Caller) -> None:
    other = b"not what was asked for"
    digest = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    caller.peers.store.on(digest, Reply(body=other))
    outcome = caller.send(None, {"context.content_hash": digest})
    assert outcome.status == 502
    computed = hashlib.sha256(other).hexdigest()
    assert outcome.error == (
        f"bundle_fetch_failed: archive hash mismatch: expected {digest}, got {computed}"
    )


# 10.2


@pytest.mark.profile("dead")
def test_10_2_9_the_structure_of_execute(runner: Runner, kind: Kind) -> None:
    assert runner.ask("/healthz").status in {200, 503}
    answer = runner.post(
        "/v1/execute",
        {
            "context": {
                "request_id": "r",
                "tenant_id": "tenant-1",
                "extension_id": "ext-1",
                "content_hash": "sha256:dummy",
            },
            "http": {"method": "POST", "path": "/foo"},
        },
        {"x-request-id": "r", "x-alga-tenant": "tenant-1", "x-alga-extension": "ext-1"},
    )
    assert (answer.status, answer.json["status"]) == (200, 502)
    assert answer.json["error"].startswith("bundle_fetch_failed: ")
    assert answer.headers["cache-control"] == settle(kind, NO_STORE)


# 10.3


def test_10_3_10_secrets_in_the_clear(caller: Caller) -> None:
    sealed = envelope({"ALGA_API_KEY": "sk_test_123", "SERVICE_TOKEN": "abc123"}, version="v1")
    got = caller.does(
        do("secrets.get", "ALGA_API_KEY"),
        do("secrets.get", "SERVICE_TOKEN"),
        secret_envelope=sealed,
    )
    assert got == [{"ok": "sk_test_123"}, {"ok": "abc123"}]


def test_10_3_11_secrets_change_with_their_ciphertext(caller: Caller) -> None:
    old = envelope({"ALGA_API_KEY": "sk_old"}, version="v1")
    new = envelope({"ALGA_API_KEY": "sk_new", "ANALYTICS_TOKEN": "tok_8"}, version="v2")
    key, other = do("secrets.get", "ALGA_API_KEY"), do("secrets.get", "ANALYTICS_TOKEN")
    assert caller.gets(key, secret_envelope=old) == {"ok": "sk_old"}
    assert caller.does(key, other, secret_envelope=new) == [{"ok": "sk_new"}, {"ok": "tok_8"}]


# 10.4, 10.5


def _echo(caller: Caller) -> dict[str, Any]:
    return {
        "context.tenant_id": TENANT,
        "context.extension_id": EXTENSION,
        "http.path": "/dynamic/echo",
        "http.query": {"foo": "bar"},
        "limits": {"memory_mb": 64, "timeout_ms": 5000},
    }


def test_10_4_12_a_dynamic_component(caller: Caller) -> None:
    sent = b"\x01\x02\x03 bytes"
    outcome = caller.send(None, _echo(caller) | {"http.body_b64": b64(sent)})
    assert outcome.status == 200
    assert outcome.headers["content-type"] == "application/json"
    details = outcome.json
    assert details["context"]["tenant_id"] == TENANT
    assert details["context"]["extension_id"] == EXTENSION
    assert details["request"]["method"] == "POST"
    assert details["request"]["url"] == "/dynamic/echo?foo=bar"
    assert details["request"]["body_b64"] == b64(sent)


def test_10_4_13_secrets_with_the_capability(caller: Caller) -> None:
    sealed = envelope({"ALGA_API_KEY": "sk_live_secret", "OTHER_TOKEN": "tok_secondary"})
    keys, value = caller.does(
        do("secrets.list-keys"),
        do("secrets.get", "ALGA_API_KEY"),
        providers=[*DEFAULTS, "cap:secrets.get"],
        secret_envelope=sealed,
    )
    assert sorted(keys["ok"]) == ["ALGA_API_KEY", "OTHER_TOKEN"]
    assert value == {"ok": "sk_live_secret"}


def test_10_4_14_secrets_without_the_capability(caller: Caller) -> None:
    given = caller.gets(
        do("secrets.get", "ALGA_API_KEY"),
        providers=list(DEFAULTS),
        secret_envelope=envelope({"ALGA_API_KEY": "x"}),
    )
    assert given == {"err": "denied"}


def test_10_4_15_ui_proxy_without_the_capability(caller: Caller) -> None:
    given = caller.gets(
        do("ui-proxy.call-route", "/proxy/ping", b64("{}")), providers=list(DEFAULTS)
    )
    assert given == {"err": "denied"}


def test_10_4_16_ui_proxy_forwards(caller: Caller) -> None:
    name = uuid.uuid4().hex
    caller.peers.proxy.on(name, said({"pong": True}))
    given = caller.gets(
        do("ui-proxy.call-route", "/proxy/ping", b64('{"limit":5}')),
        context__request_id="ui-proxy-ok",
        context__tenant_id="tenant-ok",
        context__extension_id=f"ext-ok-{name}",
        providers=[*DEFAULTS, "cap:ui.proxy"],
    )
    (asked,) = caller.peers.proxy.seen(name)
    assert (asked.method, asked.path) == ("POST", f"/api/ui-proxy/ext-ok-{name}/proxy/ping")
    assert asked.header("x-alga-tenant") == "tenant-ok"
    assert asked.header("x-alga-extension") == f"ext-ok-{name}"
    assert asked.header("x-request-id") == "ui-proxy-ok"
    assert asked.header("content-type") == "application/json"
    assert asked.json["limit"] == 5
    assert asked.header("x-runner-auth") is None
    assert given == {"ok": b64(json.dumps({"pong": True}))}


def test_10_4_17_ui_proxy_without_a_route(caller: Caller) -> None:
    caller.peers.proxy.on("/proxy/ping", Reply(404))
    given = caller.gets(do("ui-proxy.call-route", "/proxy/ping", b64("{}")))
    assert given == {"err": "route-not-found"}


def test_10_5_18_a_static_bundle(runner: Runner, peers: Peers) -> None:
    files = {"ui/index.html": HELLO.replace(b"UI", b"Container UI")}
    page = _page(runner, peers, packed(files))
    assert runner.ask("/healthz").status == 200
    answer = page.get(headers={"x-request-id": "static-1"})
    assert answer.status == 200
    assert b"Hello Container UI" in answer.body
    assert page.downloads == [
        f"/bundles/tenants/{TENANT}/extensions/{EXTENSION}"
        f"/sha256/{page.bundle.digest.hex}/bundle.tar.zst"
    ]


def test_10_5_19_a_dynamic_component(caller: Caller) -> None:
    outcome = caller.send(
        None,
        {
            **_echo(caller),
            "context.install_id": ...,
            "context.version_id": ...,
            "limits": {"timeout_ms": 5000},
            "providers": ["cap:context.read", "cap:log.emit"],
            "http.body_b64": b64("sent"),
        },
    )
    assert outcome.status == 200
    assert outcome.json["request"]["body_b64"] == b64("sent")
    assert outcome.json["context"]["install_id"] is None


# 10.6, of what can be seen from outside


def test_10_6_etags(page: Page) -> None:
    first, second = page.get("assets/app.js"), page.get("assets/app.js")
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["etag"].startswith('"sha256-')
    assert first.headers["etag"].endswith('"')


@pytest.mark.parametrize("tail", ["assets//img///logo.png", "assets/img/logo.png/"])
def test_10_6_paths_are_brought_into_shape(runner: Runner, peers: Peers, tail: str) -> None:
    page = _page(runner, peers, packed({**PAGES, "ui/assets/img/logo.png": b"logo"}))
    assert page.get(tail).body == b"logo"
