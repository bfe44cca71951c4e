"""`http.fetch` over real connections."""

from __future__ import annotations

import functools
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from algaenv.runner import outbound
from algaenv.runner.execute.invocation import DEFAULT_CAPABILITIES, DeadlineExceeded
from algaenv.runner.host import fetch
from algaenv.runner.wasm.wit import Err

from .conftest import Begin
from .host import Host
from .stub import ReceivedRequest, Stub, StubResponse


def request(
    url: str, *headers: tuple[str, str], method: str = "GET", body: bytes | None = None
) -> dict[str, Any]:
    return {
        "method": method,
        "url": url,
        "headers": [{"name": name, "value": value} for name, value in headers],
        "body": body,
    }


def test_what_is_sent(host: Host, server: Stub) -> None:
    server.respond(StubResponse(201, b"made"))
    text = host.call(
        "http.fetch",
        request(
            f"{server.url}/a/../b?q=1%202#fragment",
            ("X-Twice", "1"),
            ("Content-Type", "text/plain"),
            ("x-twice", " 2 "),
            ("X-Name", "Zoë"),
            method="POST",
            body=b"\x00body",
        ),
    )
    assert text["status"] == 201
    assert text["body"] == b"made"
    assert (server.last.method, server.last.target) == ("POST", "/b?q=1%202")
    assert server.last.body == b"\x00body"
    assert server.last.headers == [
        (b"host", server.url.removeprefix("http://").encode()),
        (b"X-Twice", b"1"),
        (b"Content-Type", b"text/plain"),
        (b"x-twice", b"2"),
        (b"X-Name", "Zoë".encode()),
        (b"content-length", b"5"),
    ]


def test_nothing_is_added(host: Host, server: Stub) -> None:
    host.call("http.fetch", request(server.url))
    assert server.last.headers == [(b"host", server.url.removeprefix("http://").encode())]
    assert (server.last.target, server.last.body) == ("/", b"")


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", None, []),
        ("GET", b"", []),
        ("GET", b"x", ["1"]),
        ("POST", None, ["0"]),
        ("PUT", b"", ["0"]),
        ("DELETE", None, []),
    ],
)
def test_lengths(
    host: Host, server: Stub, method: str, body: bytes | None, length: list[str]
) -> None:
    assert host.call("http.fetch", request(server.url, method=method, body=body))["status"] == 200
    assert server.last.all("content-length") == length


def test_framing_by_the_guest(host: Host, server: Stub) -> None:
    chunked = request(server.url, ("transfer-encoding", "chunked"), method="POST", body=b"ab")
    assert host.call("http.fetch", chunked)["status"] == 200
    assert server.last.body == b"ab"
    assert server.last.all("content-length") == []
    wrong = request(server.url, ("content-length", "9"), method="POST", body=b"ab")
    assert host.call("http.fetch", wrong) == Err("transport")


@pytest.mark.parametrize(
    "method", ["get", "PURGE", "M-SEARCH", "!weird", "OPTIONS", "TRACE", "CONNECT"]
)
def test_any_method(host: Host, server: Stub, method: str) -> None:
    assert host.call("http.fetch", request(server.url, method=method))["status"] == 200
    assert server.last.method == method


@pytest.mark.parametrize("method", ["", "G T", "GÉT", "GET\r\nx: y", "a/b"])
def test_no_method(host: Host, server: Stub, method: str) -> None:
    assert host.call("http.fetch", request(server.url, method=method)) == Err("invalid-url")
    assert server.asked == []


def test_the_host_can_be_another(host: Host, server: Stub) -> None:
    host.call("http.fetch", request(server.url, ("Host", "virtual.example.com")))
    assert server.last.all("host") == ["virtual.example.com"]


def test_a_login_in_the_url(host: Host, server: Stub) -> None:
    url = server.url.replace("http://", "http://us%40er:pa%3Ass@")
    host.call("http.fetch", request(url))
    assert server.last.one("authorization") == "Basic dXNAZXI6cGE6c3M="
    host.call("http.fetch", request(url, ("Authorization", "Bearer x")))
    assert server.last.one("authorization") == "Bearer x"


def test_what_comes_back(host: Host, server: Stub) -> None:
    server.respond(
        StubResponse(
            404,
            b"\x1f\x8bnot really gzip",
            [
                (b"X-Twice", b"1"),
                (b"Content-Encoding", b"gzip"),
                (b"x-twice", b"2"),
                (b"X-Latin", b"caf\xe9"),
                (b"X-Tab", b"a\tb"),
                (b"X-Empty", b""),
            ],
        )
    )
    text = host.call("http.fetch", request(server.url))
    assert text == {
        "status": 404,
        "headers": [
            {"name": "x-twice", "value": "1"},
            {"name": "content-encoding", "value": "gzip"},
            {"name": "x-twice", "value": "2"},
            {"name": "x-latin", "value": ""},
            {"name": "x-tab", "value": "a\tb"},
            {"name": "x-empty", "value": ""},
            {"name": "content-length", "value": "17"},
        ],
        "body": b"\x1f\x8bnot really gzip",
    }


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_is_an_empty_one(host: Host, server: Stub, status: int) -> None:
    server.respond(StubResponse(status))
    assert host.call("http.fetch", request(server.url))["body"] == b""


def test_head(host: Host, server: Stub) -> None:
    server.respond(StubResponse(200, b"unseen"))
    text = host.call("http.fetch", request(server.url, method="HEAD"))
    assert (text["body"], text["headers"]) == (b"", [{"name": "content-length", "value": "6"}])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/target", "http://[bad", "//x:99999999/", "ftp://h/"])
def test_redirects_are_answers(host: Host, server: Stub, status: int, location: str) -> None:
    server.respond(StubResponse(status, b"moved", [(b"Location", location.encode())]))
    text = host.call("http.fetch", request(f"{server.url}/start", method="POST", body=b"x"))
    assert (text["status"], text["body"]) == (status, b"moved")
    assert {"name": "location", "value": location} in text["headers"]
    assert [asked.target for asked in server.asked] == ["/start"]


def test_cookies_are_not_kept(host: Host, server: Stub) -> None:
    server.respond(StubResponse(200, b"", [(b"Set-Cookie", b"session=of-tenant-a; Path=/")]))
    text = host.call("http.fetch", request(server.url))
    assert text["headers"][0] == {"name": "set-cookie", "value": "session=of-tenant-a; Path=/"}
    host.call("http.fetch", request(server.url, ("Cookie", "my=own")), tenant="t2")
    host.call("http.fetch", request(server.url), tenant="t2")
    assert [asked.all("cookie") for asked in server.asked] == [[], ["my=own"], []]


@pytest.mark.parametrize(
    "header",
    [
        ("", "x"), ("a b", "x"), ("a:b", "x"), ("é", "x"), ("a", "x\r\ny: z"), ("a", "x\ny"),
        ("a", "\x00"), ("a", "\x7f"), ("a\r\nb", "x"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_sent(host: Host, server: Stub, header: tuple[str, str]) -> None:
    assert host.call("http.fetch", request(server.url, header)) == Err("transport")
    assert server.asked == []


@pytest.mark.parametrize("headers", [[("host", "a"), ("Host", "b")], [("content-length", "x")]])
def test_headers_that_http_refuses(
    host: Host, server: Stub, headers: list[tuple[str, str]]
) -> None:
    assert host.call("http.fetch", request(server.url, *headers)) == Err("transport")
    assert server.asked == []


def test_not_granted(host: Host, server: Stub) -> None:
    text = host.call("http.fetch", request("not a url"), capabilities=DEFAULT_CAPABILITIES)
    assert text == Err("not-allowed")


@pytest.mark.parametrize(
    "url", ["", "/path", "//host/path", "example.com", "http://", "http://h:x"]
)
def test_no_url(host: Host, url: str) -> None:
    assert host.call("http.fetch", request(url)) == Err("invalid-url")


@pytest.mark.parametrize("url", ["ftp://h/", "data:text/plain,x", "file:///etc/passwd", "mailto:a"])
def test_other_schemes(host: Host, begin: Begin, url: str) -> None:
    assert host.call("http.fetch", request(url)) == Err("transport")
    listed = begin(EXT_EGRESS_ALLOWLIST="example.com")
    assert listed.call("http.fetch", request(url)) == Err("not-allowed")


def test_the_order_of_checks(begin: Begin) -> None:
    listed = begin(EXT_EGRESS_ALLOWLIST="example.com")
    assert listed.call("http.fetch", request("http://", method="")) == Err("invalid-url")
    refused = request("http://other.org", ("", ""), method="")
    assert listed.call("http.fetch", refused) == Err("not-allowed")
    refused = request("http://example.com", ("", ""), method="")
    assert listed.call("http.fetch", refused) == Err("invalid-url")


def test_the_list_holds_for_what_is_asked(begin: Begin, server: Stub) -> None:
    port = server.url.rpartition(":")[2]
    listed = begin(EXT_EGRESS_ALLOWLIST="LOCALHOST, 127.0.0.1")
    for url in (f"http://LocalHost:{port}/", f"http://127.0.0.1:{port}", f"http:localhost:{port}"):
        assert listed.call("http.fetch", request(url))["status"] == 200
    listed = begin(EXT_EGRESS_ALLOWLIST="example.com")
    for url in (
        server.url,
        f"http://127.0.0.1:{port}\\@example.com/",
        f"http://example.com@127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}#@example.com",
        f"http://127.0.0.1:{port}?.example.com",
    ):
        assert listed.call("http.fetch", request(url)) == Err("not-allowed")
    # A name for another host in the header is not asked about.
    spoofed = request(server.url, ("Host", "example.com"))
    assert listed.call("http.fetch", spoofed) == Err("not-allowed")
    assert len(server.asked) == 3


def test_nobody_there(host: Host) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert host.call("http.fetch", request(url)) == Err("transport")
    for url in (
        "http://name.invalid/",
        f"http://{'a' * 70}.invalid/",
        "http://a..b/",
        "http://h:0",
    ):
        assert host.call("http.fetch", request(url)) == Err("transport")


def test_not_http(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"127.0.0.1:{listening.getsockname()[1]}/"
        # TLS to somebody who never answers; the deadline of the call ends it.
        with pytest.raises(DeadlineExceeded):
            host.call("http.fetch", request(f"https://{url}"), seconds=0.5)
        listening.settimeout(5)
        peer, _ = listening.accept()
        with peer:
            peer.settimeout(5)
            while peer.recv(4096):
                """Until it hangs up."""


def test_a_body_that_ends_early(host: Host, server: Stub) -> None:
    server.respond(StubResponse(200, b"x" * 100, cut=True))
    assert host.call("http.fetch", request(server.url)) == Err("internal")


def test_a_body_that_is_too_long(host: Host, server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outbound.MAX_RESPONSE_BYTES == 64 * 2**20
    monkeypatch.setattr(fetch, "MAX_RESPONSE_BYTES", 2**20)
    server.respond(StubResponse(200, b"x" * 2**18, chunks=4))
    assert len(host.call("http.fetch", request(server.url))["body"]) == 2**20
    server.respond(StubResponse(200, b"x" * 2**18, chunks=5))
    assert host.call("http.fetch", request(server.url)) == Err("internal")


@pytest.mark.parametrize(("hang", "error"), [("head", "transport"), ("body", "internal")])
def test_its_own_limit(
    host: Host, server: Stub, monkeypatch: pytest.MonkeyPatch, hang: str, error: str
) -> None:
    assert fetch.SECONDS == 30
    monkeypatch.setattr(fetch, "SECONDS", 0.2)
    server.respond(StubResponse(200, b"some", hang=hang))
    assert host.call("http.fetch", request(server.url)) == Err(error)
    assert server.left.wait(5)


@pytest.mark.parametrize("hang", ["head", "body"])
def test_the_deadline(host: Host, server: Stub, hang: str) -> None:
    server.respond(StubResponse(200, b"some", hang=hang))
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        host.call("http.fetch", request(server.url), seconds=0.2)
    assert time.monotonic() - started < 2
    assert server.left.wait(5), "the connection stays open"


@pytest.mark.slow
def test_a_slow_peer_does_not_hold_up_another(host: Host, server: Stub, other: Stub) -> None:
    many = 120
    server.respond(StubResponse(hang="head"))
    fetch_slowly = functools.partial(host.call, "http.fetch", request(server.url), seconds=3)
    with ThreadPoolExecutor(many) as pool:
        stuck = [pool.submit(fetch_slowly) for _ in range(many)]
        limit = time.monotonic() + 2.5
        while len(server.asked) < many and time.monotonic() < limit:
            time.sleep(0.01)
        assert len(server.asked) == many
        assert host.call("http.fetch", request(other.url))["status"] == 200
        assert not any(each.done() for each in stuck)
        for each in stuck:
            assert isinstance(each.exception(20), DeadlineExceeded)


def test_answers_do_not_mix(host: Host, server: Stub) -> None:
    def echo(asked: ReceivedRequest) -> StubResponse:
        return StubResponse(200, asked.target.encode())

    server.answer = echo
    with ThreadPoolExecutor(8) as pool:
        urls = [f"{server.url}/{number}" for number in range(200)]
        answers = list(pool.map(lambda url: host.call("http.fetch", request(url)), urls))
    assert [answer["body"] for answer in answers] == [b"/%d" % number for number in range(200)]


def scratch_host(begin: Begin, server: Stub, **env: str) -> Host:
    return begin(
        STORAGE_API_BASE_URL=server.url,
        RUNNER_STORAGE_API_TOKEN="token",
        ALGAENV_SCRATCH_TENANTS="true",
        **env,
    )


def test_the_gateway_answers_in_place_of_a_server(begin: Begin, server: Stub, other: Stub) -> None:
    host = scratch_host(begin, server)
    reply = {"status": 203, "headers": [["X-A", "b"]], "body": "bWFkZQ=="}
    server.respond(StubResponse(200, json.dumps(reply).encode()))
    sent = request(f"{other.url}/x?q=1", ("X-B", "Zoë"), method="POST", body=b"\x00")
    found = host.call("http.fetch", sent, http_by_gateway=True)
    assert found == {
        "status": 203,
        "headers": [{"name": "x-a", "value": "b"}],
        "body": b"made",
    }
    assert server.last.target == "/api/internal/ext-http/install/i1"
    told = json.loads(server.last.body)
    headers = dict(told.pop("headers"))
    assert told == {
        "operation": "fetch",
        "method": "POST",
        "url": f"{other.url}/x?q=1",
        "body": "AA==",
    }
    assert headers["X-B"] == "Zoë"
    assert headers["host"] == other.url.removeprefix("http://")
    # A call for another tenant goes where it is meant to go.
    other.respond(StubResponse(200, b"real"))
    assert host.call("http.fetch", request(f"{other.url}/"))["body"] == b"real"


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (
            StubResponse(404, b'{"error": "no response is prepared"}'),
            "transport",
            "no response is prepared",
        ),
        (StubResponse(200, b'{"error": "prepared to fail"}'), "transport", "prepared to fail"),
        (StubResponse(500, b"broken"), "transport", "http 500: broken"),
        (StubResponse(200, b"[]"), "internal", ""),
        (StubResponse(200, b'{"status": 200, "headers": [["a"]], "body": ""}'), "internal", ""),
        (StubResponse(200, b'{"status": 200, "headers": [], "body": "%"}'), "internal", ""),
        (StubResponse(200, b"{}"), "internal", ""),
    ],
)
def test_what_the_gateway_has_no_response_for_goes_nowhere(
    begin: Begin, server: Stub, answer: StubResponse, error: str, reason: str
) -> None:
    host = scratch_host(begin, server)
    server.respond(answer)
    invocation = host.invocation(http_by_gateway=True)
    found = host.fetch(invocation, request("https://nowhere.invalid/"))
    assert found == Err(error)
    assert invocation.reason == reason


def test_a_scratch_tenant_keeps_to_the_list_of_hosts(begin: Begin, server: Stub) -> None:
    host = scratch_host(begin, server, EXT_EGRESS_ALLOWLIST="a.example")
    sent = request("https://b.example/")
    assert host.call("http.fetch", sent, http_by_gateway=True) == Err("not-allowed")


def test_a_runner_without_scratch_tenants_sends_nothing_for_them(
    begin: Begin, server: Stub
) -> None:
    host = begin(STORAGE_API_BASE_URL=server.url, RUNNER_STORAGE_API_TOKEN="token")
    sent = request(f"{server.url}/")
    assert host.call("http.fetch", sent, http_by_gateway=True) == Err("not-allowed")
    assert server.asked == []
