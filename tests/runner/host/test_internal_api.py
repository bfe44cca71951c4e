"""What all internal APIs share: the question, silence, redirects, time, and what is logged."""

from __future__ import annotations

import logging
import socket
import time

import pytest

from algaenv.runner import outbound
from algaenv.runner.execute.invocation import CallTrace, DeadlineExceeded
from algaenv.runner.host import internal_api
from algaenv.runner.wasm.wit import Err

from .conftest import TOKEN, Begin
from .host import Host
from .stub import Stub, StubResponse

LISTING = "storage.list-entries"


def test_the_question(host: Host, server: Stub) -> None:
    server.respond_json({"items": []})
    assert host.call(LISTING, "ns", None) == []
    asked = server.last
    assert (asked.method, asked.target) == ("POST", "/api/internal/ext-storage/install/i1")
    assert asked.one("content-type") == "application/json"
    assert asked.one("x-runner-auth") == TOKEN
    assert asked.names() == {
        "host", "accept", "content-type", "content-length", "x-runner-auth"
    }  # fmt: skip


def test_a_traced_call_says_which_it_is(host: Host, server: Stub) -> None:
    server.respond_json({"items": []})
    host.call(LISTING, "ns", None, trace=CallTrace())
    assert server.last.one("x-algaenv-request-id") == "r1"
    host.call(LISTING, "ns", None, trace=CallTrace(), request_id="no\r\nheader")
    assert "x-algaenv-request-id" not in server.last.names()


@pytest.mark.parametrize(
    ("install", "segment"),
    [
        ("inst/ 1", "inst%2F%201"),
        ("a?b#c", "a%3Fb%23c"),
        ("%2e", "%252e"),
        ("ü", "%C3%BC"),
        ("", ""),
    ],
)
def test_install_ids_in_the_path(host: Host, server: Stub, install: str, segment: str) -> None:
    server.respond_json({"endpoints": []})
    assert host.call("scheduler.get-endpoints", install=install) == []
    assert server.last.target == f"/api/internal/ext-scheduler/install/{segment}"


@pytest.mark.parametrize("install", [".", ".."])
def test_install_ids_that_would_leave(host: Host, server: Stub, install: str) -> None:
    assert host.call("scheduler.get-endpoints", install=install) == Err("internal")
    assert server.asked == []


def test_a_base_with_a_path(begin: Begin, server: Stub) -> None:
    server.respond_json({})
    base = f" {server.url}/tenant-x/api/ "
    host = begin(REGISTRY_BASE_URL=base, RUNNER_SERVICE_TOKEN="")
    assert host.call(LISTING, "ns", None) == []
    assert server.last.target == "/tenant-x/api/internal/ext-storage/install/i1"
    assert server.last.one("x-runner-auth") == ""


def test_nobody_to_ask(begin: Begin, server: Stub) -> None:
    nowhere = begin(RUNNER_SERVICE_TOKEN="t")
    assert nowhere.call(LISTING, "ns", None) == Err("internal")
    no_token = begin(REGISTRY_BASE_URL=server.url)
    assert no_token.call(LISTING, "ns", None) == Err("internal")
    bad_token = begin(REGISTRY_BASE_URL=server.url, RUNNER_SERVICE_TOKEN="a\nb")
    assert bad_token.call(LISTING, "ns", None) == Err("internal")
    no_url = begin(REGISTRY_BASE_URL="application-server", RUNNER_SERVICE_TOKEN="t")
    assert no_url.call(LISTING, "ns", None) == Err("internal")
    assert server.asked == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused = begin(REGISTRY_BASE_URL=gone, RUNNER_SERVICE_TOKEN="t")
        assert refused.call(LISTING, "ns", None) == Err("internal")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"{}x", b"\xef\xbb\xbf{}", b"\xff", b"NaN", b'{"a": Infinity}', b'{"a": 1e999}',
        b'"\\ud800"', b'{"\\udfff": 1}', b"[" * 100_000, b"{}".decode().encode("utf-16"),
        b"9" * 5000, b"'x'",
    ],
)  # fmt: skip
def test_bodies_that_are_not_json(host: Host, server: Stub, body: bytes) -> None:
    server.respond(StubResponse(200, body))
    assert host.call(LISTING, "ns", None) == Err("internal")


@pytest.mark.parametrize("body", [b"", b" \r\n ", b"null", b'"\\ud83d\\ude00"', b"[]", b"5"])
@pytest.mark.parametrize("status", [200, 201, 204])
def test_bodies_without_items(host: Host, server: Stub, body: bytes, status: int) -> None:
    server.respond(StubResponse(status, b"" if status == 204 else body))
    assert host.call(LISTING, "ns", None) == []


def test_a_body_that_ends_early(host: Host, server: Stub) -> None:
    server.respond(StubResponse(200, b'{"items": []}', cut=True))
    assert host.call(LISTING, "ns", None) == Err("internal")
    server.respond(StubResponse(404, b'{"error": "no"}', cut=True))
    assert host.call(LISTING, "ns", None) == Err("missing")


def test_a_body_that_is_too_long(host: Host, server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_RESPONSE_BYTES", 1000)
    server.respond(StubResponse(200, b" " * 1001))
    assert host.call(LISTING, "ns", None) == Err("internal")
    server.respond(StubResponse(200, b" " * 1000))
    assert host.call(LISTING, "ns", None) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_other_host_sees_the_token(host: Host, server: Stub, other: Stub, status: int) -> None:
    server.respond(StubResponse(status, b"", [(b"location", f"{other.url}/taken".encode())]))
    assert host.call(LISTING, "ns", None) == Err("internal")
    assert host.call("ui-proxy.call-route", "x", b"", secrets={"api_key": "k"}) == Err("internal")
    assert len(server.asked) == 2
    assert other.asked == []


@pytest.mark.parametrize(
    ("status", "method"),
    [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")],
)
def test_a_move_within_the_origin(host: Host, server: Stub, status: int, method: str) -> None:
    moved = StubResponse(status, b"", [(b"location", b"/elsewhere"), (b"set-cookie", b"a=b")])
    server.answer = lambda asked: StubResponse(200) if asked.target == "/elsewhere" else moved
    assert host.call(LISTING, "ns", None) == []
    assert (server.last.method, server.last.target) == (method, "/elsewhere")
    assert server.last.one("x-runner-auth") == TOKEN
    assert not {"referer", "cookie"} & server.last.names()
    assert server.last.body == (server.asked[0].body if method == "POST" else b"")


def test_a_circle(host: Host, server: Stub) -> None:
    server.respond(StubResponse(307, b"", [(b"location", b"/again")]))
    assert host.call(LISTING, "ns", None) == Err("internal")
    assert len(server.asked) == 11


@pytest.mark.parametrize("location", [b"http://[bad", b"//x:99999999/", b"ftp://h/"])
def test_a_move_to_nowhere(host: Host, server: Stub, location: bytes) -> None:
    server.respond(StubResponse(302, b"", [(b"location", location)]))
    assert host.call(LISTING, "ns", None) == Err("internal")


def test_its_own_limit(host: Host, server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert internal_api.SECONDS == 30
    monkeypatch.setattr(internal_api, "SECONDS", 0.2)
    server.respond(StubResponse(hang="head"))
    assert host.call(LISTING, "ns", None) == Err("internal")
    assert server.left.wait(5)


@pytest.mark.parametrize("hang", ["head", "body"])
def test_the_deadline(host: Host, server: Stub, hang: str) -> None:
    server.respond(StubResponse(200, b"{}", hang=hang))
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        host.call(LISTING, "ns", None, seconds=0.2)
    assert time.monotonic() - started < 2
    assert server.left.wait(5), "the connection stays open"


def test_what_is_logged(host: Host, server: Stub, caplog: pytest.LogCaptureFixture) -> None:
    server.respond(StubResponse(500, b"broken " * 100))
    with caplog.at_level(logging.DEBUG, "algaenv"):
        host.call("storage.get", "secret", "id")
    (line,) = caplog.records
    assert (line.levelname, line.getMessage()) == ("WARNING", "storage_request error")
    assert line.__dict__["fields"] == {
        "request_id": "r1",
        "tenant": "t1",
        "extension": "e1",
        "operation": "get",
        "namespace": "se…et",
        "key": "***",
        "status": 500,
        "body": ("broken " * 100)[:300],
    }


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("scheduler.get-schedule", "s"),
        ("clients.get-client", "c"),
        ("services.get-service", "s"),
        ("invoicing.create-manual-invoice", {"client_id": "c", "items": []}),
    ],
)
def test_who_is_named_in_the_log(
    host: Host, server: Stub, caplog: pytest.LogCaptureFixture, name: str, argument: object
) -> None:
    with caplog.at_level(logging.DEBUG, "algaenv"):
        for text in (
            StubResponse(503, b"busy"),
            StubResponse(200, b"{"),
            StubResponse(200, b"{}", cut=True),
        ):
            server.respond(text)
            host.call(name, argument)
        server.respond_json({"item": None})
        host.call(name, argument)
    event = f"{name.partition('.')[0]}_request error"
    assert [line.getMessage() for line in caplog.records] == [event] * 3
    details = [line.__dict__["fields"] for line in caplog.records]
    assert details[0]["body"] == "busy"
    assert details[2]["why"] == "cut short"
    assert TOKEN not in str(details)
    assert server.url not in str(details)
