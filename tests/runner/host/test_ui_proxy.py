"""`ui-proxy` row by row, and where its routes lead."""

from __future__ import annotations

import time
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.runner.execute.invocation import CAP_UI_PROXY, DEFAULT_CAPABILITIES, DeadlineExceeded
from algaenv.runner.execute.request_models import User
from algaenv.runner.host.ui_proxy import InvalidRoute, route_url
from algaenv.runner.wasm.wit import Err

from .conftest import Begin
from .host import Host
from .stub import Stub, StubResponse

CALL = "ui-proxy.call-route"


def test_a_question_without_payload(host: Host, server: Stub) -> None:
    server.respond(StubResponse(200, b"\x00answer"))
    text = host.call(CALL, "/proxy/ping", None, request_id=None, install=None, version=None)
    assert text == b"\x00answer"
    assert (server.last.method, server.last.target) == ("GET", "/api/ui-proxy/e1/proxy/ping")
    assert server.last.names() == {
        "host", "accept", "x-request-id", "x-alga-tenant", "x-alga-extension"
    }  # fmt: skip
    assert server.last.one("x-request-id") == "ui-proxy-call"
    assert server.last.body == b""


def test_a_question_with_all(begin: Begin, server: Stub, user: User) -> None:
    """Alga's own test expects `x-runner-auth` from UI_PROXY_AUTH_KEY; its runner sends none."""
    host = begin(
        UI_PROXY_BASE_URL=f"{server.url}/api/ui-proxy",
        UI_PROXY_AUTH_KEY="proxy-secret",
        UI_PROXY_TIMEOUT_MS="2000",
        RUNNER_SERVICE_TOKEN="service-secret",
    )
    server.respond(StubResponse(201, b"{}"))
    text = host.call(
        CALL,
        "proxy/ping",
        b'{"limit":5}',
        request_id="ui-proxy-ok",
        tenant="tenant-ok",
        extension="ext-ok",
        secrets={"api_key": "sk", "other": "unsent"},
        capabilities=DEFAULT_CAPABILITIES | {CAP_UI_PROXY},
        user=user,
    )
    assert text == b"{}"
    asked = server.last
    assert (asked.method, asked.target) == ("POST", "/api/ui-proxy/ext-ok/proxy/ping")
    assert asked.json() == {"limit": 5}
    sent = {
        "x-request-id": "ui-proxy-ok",
        "x-alga-tenant": "tenant-ok",
        "x-alga-extension": "ext-ok",
        "x-ext-install-id": "i1",
        "x-ext-version-id": "v1",
        "x-api-key": "sk",
        "x-user-id": "u1",
        "x-user-email": "müller@example.com",
        "content-type": "application/json",
        "content-length": "11",
    }
    assert {name: asked.one(name) for name in sent} == sent
    assert asked.names() == {*sent, "host", "accept"}


def test_an_empty_payload_is_one(host: Host, server: Stub) -> None:
    assert host.call(CALL, "x", b"") == b""
    assert (server.last.method, server.last.one("content-length")) == ("POST", "0")
    assert server.last.one("content-type") == "application/json"


def test_the_order_of_checks(begin: Begin, host: Host, server: Stub) -> None:
    unconfigured = begin()
    assert unconfigured.call(CALL, "", None, capabilities=DEFAULT_CAPABILITIES) == Err("denied")
    assert unconfigured.call(CALL, "", None) == Err("route-not-found")
    assert begin(UI_PROXY_BASE_URL="nonsense").call(CALL, "x", None) == Err("route-not-found")
    for route in ("", "  ", ".", "/a/../b", "a/./b", "../x?y", "/api/v1/.."):
        assert host.call(CALL, route, None) == Err("bad-request")
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "bad-request"), (401, "denied"), (403, "denied"), (404, "route-not-found"),
        (409, "bad-request"), (422, "bad-request"), (429, "denied"), (500, "internal"),
        (503, "internal"), (304, "internal"), (300, "internal"),
    ],
)  # fmt: skip
def test_statuses(host: Host, server: Stub, status: int, error: str) -> None:
    server.respond(StubResponse(status, b"" if status == 304 else b"why"))
    assert host.call(CALL, "x", None) == Err(error)


def test_failures(host: Host, begin: Begin, server: Stub) -> None:
    server.respond(StubResponse(200, b"cut short", cut=True))
    assert host.call(CALL, "x", None) == Err("internal")
    assert host.call(CALL, "x", None, tenant="a\nb") == Err("internal")
    assert len(server.asked) == 1
    for base in ("http://name.invalid", f"https{server.url[4:]}"):
        assert begin(UI_PROXY_BASE_URL=base).call(CALL, "x", None) == Err("internal")


@pytest.mark.parametrize("hang", ["head", "body"])
def test_its_own_limit(begin: Begin, server: Stub, hang: str) -> None:
    host = begin(UI_PROXY_BASE_URL=server.url, UI_PROXY_TIMEOUT_MS="150")
    server.respond(StubResponse(200, b"x", hang=hang))
    started = time.monotonic()
    assert host.call(CALL, "x", None) == Err("internal")
    assert 0.14 < time.monotonic() - started < 2
    assert server.left.wait(5)


def test_the_deadline(host: Host, server: Stub) -> None:
    server.respond(StubResponse(hang="head"))
    with pytest.raises(DeadlineExceeded):
        host.call(CALL, "x", None, seconds=0.2)
    assert server.left.wait(5)


BASE = "http://h:8080/api/ui-proxy"


@pytest.mark.parametrize(
    ("base", "route", "url"),
    [
        (BASE, "/proxy/ping", f"{BASE}/e/proxy/ping"),
        (BASE, " proxy//ping/ ", f"{BASE}/e/proxy/ping"),
        (f"{BASE}/", "x", f"{BASE}/e/x"),
        (f"{BASE}//", "x", f"{BASE}//e/x"),
        ("http://h", "x", "http://h/e/x"),
        (f"{BASE}?own=1#f", "x?a=b", f"{BASE}/e/x?a=b"),
        (BASE, "/", f"{BASE}/e"),
        (BASE, "?a=1?b=2&c=%20 #", f"{BASE}/e?a=1?b=2&c=%20%20%23"),
        (BASE, "x?", f"{BASE}/e/x"),
        (BASE, "/api/v1/x?q", f"{BASE}/api/v1/x?q"),
        (BASE, "api/v1/x", f"{BASE}/api/v1/x"),
        (BASE, "/api", f"{BASE}/e/api"),
        (BASE, "//api/x", f"{BASE}/e/api/x"),
        (BASE, "/apix/y", f"{BASE}/e/apix/y"),
        (BASE, "a%20b/%2e%2e", f"{BASE}/e/a%2520b/%252e%252e"),
        (BASE, 'a "#<>^`{}\\', f"{BASE}/e/a%20%22%23%3C%3E%5E%60%7B%7D%5C"),
        (BASE, "!$&'()*+,:;=@[]|~-._", f"{BASE}/e/!$&'()*+,:;=@[]|~-._"),
        (BASE, "ü\x01\x7f", f"{BASE}/e/%C3%BC%01%7F"),
        (BASE, "...", f"{BASE}/e/..."),
    ],
)  # fmt: skip
def test_addresses(host: Host, base: str, route: str, url: str) -> None:
    assert route_url(base, "e", route) == url


@pytest.mark.parametrize(
    ("extension", "segments"),
    [("a b/c", "a%20b%2Fc/x"), (".", "x"), ("..", "x"), ("", "x"), ("%", "%25/x")],
)
def test_extensions(extension: str, segments: str) -> None:
    assert route_url(BASE, extension, "x") == f"{BASE}/{segments}"


_routes = st.lists(
    st.sampled_from([*"a/?%#.&= +|[]\\'\"é\x01\t", "..", "%2e", "//", "api/"])
    | st.characters(codec="utf-8"),
    max_size=10,
).map("".join)


@given(route=_routes)
def test_no_route_leaves_its_place(route: str) -> None:
    """What the library sends is below the base, and says what the guest said."""
    try:
        url = route_url(BASE, "e", route)
    except InvalidRoute:
        return
    sent = httpx.URL(url)
    assert (sent.raw_host, sent.port, sent.fragment) == (b"h", 8080, "")
    path, _, query = sent.raw_path.partition(b"?")
    asked, _, asked_query = route.strip().partition("?")
    place = b"/api/ui-proxy" if asked.startswith(("/api/", "api/")) else b"/api/ui-proxy/e"
    assert path == place or path.startswith(place + b"/")
    text = "/".join(filter(None, asked.split("/")))
    assert unquote_to_bytes(path[len(place) + 1 :]) == text.encode()
    assert unquote_to_bytes(query) == unquote_to_bytes(asked_query.encode())
    assert url.encode() == b"http://h:8080" + sent.raw_path
