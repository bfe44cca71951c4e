"""6.6: routes of the server behind an extension's UI."""

from __future__ import annotations

import time
from base64 import b64decode
from typing import Any

import pytest

from .calls import USER, Caller, b64, do, envelope
from .stub import Reply, Request

BASE = "/api/ui-proxy"
STATUSES = {
    400: "bad-request",
    401: "denied",
    403: "denied",
    404: "route-not-found",
    405: "bad-request",
    409: "bad-request",
    422: "bad-request",
    429: "denied",
    499: "bad-request",
    304: "internal",
    500: "internal",
    502: "internal",
    503: "internal",
}


class Route:
    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.answers(Reply(200, b"answer"))

    def answers(self, *replies: Reply) -> None:
        self.caller.peers.proxy.on(BASE, *replies)

    def call(self, route: object, payload: str | None = None, **changes: object) -> Any:
        return self.caller.gets(do("ui-proxy.call-route", route, payload), **changes)

    @property
    def asked(self) -> list[Request]:
        """The peers forget between cases, so these are the case's own."""
        return self.caller.peers.proxy.seen("")


@pytest.fixture
def route(caller: Caller) -> Route:
    return Route(caller)


def test_6_6_a_call(route: Route) -> None:
    given = route.call("/proxy/ping", b64('{"limit":5}'), user=USER)
    assert given == {"ok": b64("answer")}
    (asked,) = route.asked
    caller = route.caller
    assert asked.method == "POST"
    assert asked.target == f"{BASE}/{caller.extension}/proxy/ping"
    assert asked.body == b'{"limit":5}'
    expected = {
        "content-type": "application/json",
        "x-request-id": caller.request_id,
        "x-alga-tenant": caller.tenant,
        "x-alga-extension": caller.extension,
        "x-ext-install-id": caller.install,
        "x-ext-version-id": "v-1",
        "x-user-id": USER["user_id"],
        "x-user-email": USER["user_email"],
    }
    assert {name: asked.header(name) for name in expected} == expected
    for name in ("x-runner-auth", "x-api-key", "authorization"):
        assert asked.header(name) is None
    assert "never-sent" not in str(asked.headers)


def test_6_6_without_what_may_be_missing(route: Route) -> None:
    route.call(
        "/r",
        context__request_id=None,
        context__install_id=None,
        context__version_id=None,
        user=None,
    )
    (asked,) = route.asked
    assert (asked.method, asked.body) == ("GET", b"")
    assert asked.header("x-request-id") == "ui-proxy-call"
    for name in (
        "x-ext-install-id",
        "x-ext-version-id",
        "x-user-id",
        "x-user-email",
        "content-type",
    ):
        assert asked.header(name) is None


def test_6_6_an_empty_payload_is_a_post(route: Route) -> None:
    route.call("/r", "")
    (asked,) = route.asked
    assert (asked.method, asked.body) == ("POST", b"")
    assert asked.header("content-type") == "application/json"


@pytest.mark.parametrize("providers", [["cap:ui.proxy"], ["cap:ui.proxy", "cap:secrets.get"]])
def test_6_6_the_secret_api_key(route: Route, providers: list[str]) -> None:
    sealed = envelope({"api_key": "sk-1", "API_KEY": "other"})
    route.call("/r", secret_envelope=sealed, providers=providers)
    assert route.asked[0].all("x-api-key") == ["sk-1"]


@pytest.mark.parametrize(
    ("given", "target"),
    [
        pytest.param("r", "/{ext}/r", id="6.6-no-slash"),
        pytest.param("/r", "/{ext}/r", id="6.6-slash"),
        pytest.param("//a///b/", "/{ext}/a/b", id="6.6-empty-segments"),
        pytest.param("/a b", "/{ext}/a%20b", id="6.6-space"),
        pytest.param("/%20", "/{ext}/%2520", id="6.6-encoded-already"),
        pytest.param("/ü", "/{ext}/%C3%BC", id="6.6-unicode"),
        pytest.param('/"#<>^`{{}}\\', "/{ext}/%22%23%3C%3E%5E%60%7B%7D%5C", id="6.6-encoded"),
        pytest.param("/a:b@c;d=e,f$g!h'i(j)*~-_.[]|&+", None, id="6.6-not-encoded"),
        pytest.param("/r?a=b&c=%20d", "/{ext}/r?a=b&c=%20d", id="6.6-query"),
        pytest.param("/r?", "/{ext}/r", id="6.6-empty-query"),
        pytest.param("/r?a?b", "/{ext}/r?a?b", id="6.6-second-question-mark"),
        pytest.param("?a=b", "/{ext}?a=b", id="6.6-query-alone"),
        pytest.param("/", "/{ext}", id="6.6-root"),
        pytest.param("/api/v1/x", "/api/v1/x", id="6.6-platform"),
        pytest.param("api/v1/x?y=z", "/api/v1/x?y=z", id="6.6-platform-without-slash"),
        pytest.param("/apis/x", "/{ext}/apis/x", id="6.6-nearly-platform"),
        pytest.param("/api", "/{ext}/api", id="6.6-api-alone"),
        pytest.param("/API/x", "/{ext}/API/x", id="6.6-api-in-capitals"),
        pytest.param("/a..b/...", "/{ext}/a..b/...", id="6.6-dots-in-names"),
    ],
)
def test_6_6_urls(route: Route, *, given: str, target: str | None) -> None:
    sent = given.replace("{{", "{").replace("}}", "}")
    assert route.call(sent) == {"ok": b64("answer")}
    expected = f"/{{ext}}{given}" if target is None else target
    (asked,) = route.asked
    assert asked.target == f"{BASE}{expected}".replace("{ext}", route.caller.extension)


@pytest.mark.parametrize("given", ["", "  ", "\n", "/..", "/a/../b", ".", "/./a", "/api/../x"])
def test_6_6_routes_that_are_refused(route: Route, given: str) -> None:
    assert route.call(given) == {"err": "bad-request"}
    assert route.asked == []


@pytest.mark.parametrize("extension", [".", ".."])
def test_6_6_extension_ids_that_are_dropped(route: Route, extension: str) -> None:
    route.call("/r", context__extension_id=extension)
    assert [asked.target for asked in route.asked] == [f"{BASE}/r"]


def test_6_6_extension_ids_are_encoded(route: Route) -> None:
    route.call("/r", context__extension_id="a b/c")
    assert [asked.target for asked in route.asked] == [f"{BASE}/a%20b%2Fc/r"]


@pytest.mark.parametrize("status", STATUSES)
def test_6_6_statuses(route: Route, status: int) -> None:
    route.answers(Reply(status, b"why"))
    assert route.call("/r") == {"err": STATUSES[status]}
    assert len(route.asked) == 1


@pytest.mark.parametrize("status", [200, 201, 204, 206])
def test_6_6_success(route: Route, status: int) -> None:
    body = b"" if status == 204 else bytes(range(256))
    route.answers(Reply(status, body))
    given = route.call("/r")
    assert b64decode(given["ok"]) == body


def test_6_6_an_answer_that_is_cut(route: Route) -> None:
    route.answers(Reply(200, bytes(100_000), cut=True))
    assert route.call("/r") == {"err": "internal"}


@pytest.mark.profile("lonely")
def test_6_6_a_proxy_that_is_not_there(route: Route) -> None:
    assert route.call("/r") == {"err": "internal"}


@pytest.mark.profile("configured")
def test_6_6_a_proxy_that_is_slow(route: Route) -> None:
    route.answers(Reply(200, wait=2))
    route.caller.send()
    began = time.monotonic()
    assert route.call("/r") == {"err": "internal"}
    assert 0.28 < time.monotonic() - began < 1.5


@pytest.mark.profile("closed")
def test_6_6_no_proxy_is_configured(route: Route) -> None:
    for given in ("/r", "", "/.."):
        assert route.call(given) == {"err": "route-not-found"}
    assert route.call("/r", providers=[]) == {"err": "denied"}
