"""Pages of other sites, the runner's proxy, health, events, and how the process begins and ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from algaenv.gateway.responses import MAX_HEADER_LENGTH, header_text
from algaenv.gateway.settings import Settings, SettingsError
from tests.gateway.conftest import Start
from tests.gateway.gateway_process import Gateway
from tests.gateway.seed import Extension
from tests.gateway.stub_runner import StubResponse, StubRunner
from tests.gateway.test_calls import BOTH, DIRECT, PROXY
from tests.servers import Database, free_port

EVIL = "https://evil.example"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:9", 200),
        ("127.0.0.1:3000", 200),
        ("[::1]:3000", 200),
        ("psa.localhost", 200),
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost/x", 403),
        ("localhost#x", 403),
        ("localhost?", 403),
        ("localhost\\x", 403),
        ("localhost:x", 403),
        ("", 403),
    ],
)
def test_hosts(service: Gateway, hello: Extension, host: str, status: int) -> None:
    answer = service.ask(f"{DIRECT}/{hello.slug}/hello", {"host": host})
    assert answer.status == status
    if status == 403:
        assert answer.json == {"error": "host_refused"}


def test_runners_come_by_another_name(service: Gateway) -> None:
    assert service.ask("/healthz", {"host": "gateway:3000"}).status == 200
    answer = service.ask("/api/internal/ext-storage/install/x", {"host": "gateway"}, method="POST")
    assert answer.status != 403


def test_an_absolute_target(service: Gateway, hello: Extension) -> None:
    url = f"http://evil.example{DIRECT}/{hello.slug}/hello"
    assert service.ask(url, {"host": "evil.example"}).status == 403
    assert service.ask("//evil.example/x", {"host": "localhost"}).status in {400, 404}


@BOTH
@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost.evil.example", "file://"])
def test_pages_elsewhere(
    service: Gateway, hello: Extension, route_prefix: str, origin: str
) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = service.call(f"{route_prefix}/{hello.slug}/hello", method=method, origin=origin)
        assert (answer.status, answer.json) == (403, {"error": "origin_refused"})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("mode", ["no-cors", "cors", "navigate"])
def test_pages_elsewhere_that_send_no_origin(service: Gateway, hello: Extension, mode: str) -> None:
    how = {"sec_fetch_site": "cross-site", "sec_fetch_mode": mode}
    assert service.call(f"{DIRECT}/{hello.slug}/hello", **how).status == 403
    how["sec_fetch_site"] = "same-origin"
    assert service.call(f"{DIRECT}/{hello.slug}/hello", **how).status == 200


def test_pages_of_this_machine(service: Gateway, hello: Extension, runner: StubRunner) -> None:
    own, other = f"http://127.0.0.1:{service.port}", "http://localhost:5173"

    def allowed(route_prefix: str, origin: str, method: str) -> str | None:
        answer = service.call(f"{route_prefix}/{hello.slug}/hello", method=method, origin=origin)
        assert answer.headers.get("vary", "Origin") == "Origin"
        if answer.status == 403:
            return "refused"
        assert answer.status == (204 if method == "OPTIONS" else 200)
        found = answer.headers.get("access-control-allow-origin")
        assert (found is None) == ("access-control-allow-credentials" not in answer.headers)
        return found

    for method in ("GET", "POST", "OPTIONS"):
        assert allowed(DIRECT, own, method) == own
        assert allowed(DIRECT, other, method) == other
        assert allowed(PROXY, own, method) == own
        assert allowed(PROXY, runner.url, method) == runner.url
    assert allowed(PROXY, other, "GET") is None
    # The product answers it before the gateway does, with or without a user.
    assert allowed(PROXY, other, "OPTIONS") == other
    assert allowed(PROXY, other, "POST") == "refused"


def test_listed_origins(start: Start, hello: Extension) -> None:
    service = start(
        {"extensions": {hello.slug: {"ui_dev_server": "http://localhost:5173/"}}},
        EXT_PROXY_ALLOWED_ORIGINS="https://psa.example, http://x.example:80/",
    )
    for origin in ("http://localhost:5173", "https://psa.example", "http://x.example"):
        answer = service.call(f"{PROXY}/{hello.slug}/hello", b"", origin=origin)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)


# The runner's pages


def test_runner_pages(service: Gateway, runner: StubRunner) -> None:
    headers = {
        "content-type": "text/html",
        "content-security-policy": "default-src 'self'",
        "cache-control": "public",
        "connection": "keep-alive, x-secret-hop",
        "x-secret-hop": "1",
        "keep-alive": "timeout=5",
    }
    runner.respond_with(StubResponse(200, b"<p>", headers))
    path = "/ext-ui/id/sha256%3A00/index.html?tenant=t&x=%2F"
    answer = service.call(
        f"/runner{path}",
        cookie="a=b",
        authorization="x",
        x_tenant_id="t",
        accept="text/html",
        range="bytes=0-1",
        if_none_match='"e"',
    )
    assert (answer.status, answer.body) == (200, b"<p>")
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert not {"keep-alive", "x-secret-hop"} & answer.headers.keys()
    asked = runner.last
    assert (asked.method, asked.target) == ("GET", path)
    assert asked.headers["range"] == "bytes=0-1"
    assert asked.headers["if-none-match"] == '"e"'
    assert not {"cookie", "authorization", "x-tenant-id"} & asked.headers.keys()
    assert service.call(f"/runner{path}", method="HEAD").status == 200
    assert runner.last.method == "HEAD"
    assert service.call(f"/runner{path}", b"").status == 405
    assert service.call("/runner?tenant=t").status == 200
    assert runner.last.target == "/?tenant=t"
    assert service.call("/runner", b"").status == 405


@pytest.mark.parametrize("status", [301, 304, 404, 500])
def test_runner_statuses(service: Gateway, runner: StubRunner, status: int) -> None:
    runner.respond_with(StubResponse(status, b"", {"location": "/elsewhere"}))
    answer = service.call("/runner/x")
    assert (answer.status, answer.headers["location"]) == (status, "/elsewhere")


@pytest.mark.parametrize(
    "path",
    [
        "/runner/../v1/execute",
        "/runner/%2e%2e/x",
        "/runner/..%2fx",
        "/runner/a/%2E%2E/b",
        "/runner/a%5c..%5cb",
        "/runner/x%00",
    ],
)
def test_no_climbing(service: Gateway, runner: StubRunner, path: str) -> None:
    assert service.call(path).status == 404
    assert not runner.asked


@pytest.mark.parametrize("path", ["@evil.example/", ":80/", "/evil.example/", "\\evil.example"])
def test_no_other_server(service: Gateway, runner: StubRunner, path: str) -> None:
    answer = service.call(f"/runner/{path}")
    assert answer.status in {200, 400, 404}
    assert all(asked.target.startswith("/") for asked in runner.asked)


def test_a_page_is_asked_for_again_when_the_runner_drops_the_connection(
    service: Gateway, runner: StubRunner
) -> None:
    runner.answer = lambda asked: StubResponse(
        200, b"page", {"content-type": "text/html"}, drop=len(runner.asked) == 1
    )
    answer = service.call("/runner/x")
    assert (answer.status, answer.body, len(runner.asked)) == (200, b"page", 2)
    runner.respond_with(StubResponse(drop=True))
    answer = service.call("/runner/x")
    assert (answer.status, answer.json) == (502, {"error": "runner_proxy_error"})
    assert len(runner.asked) == 4


def test_runner_pages_without_a_runner(start: Start) -> None:
    service = start(RUNNER_BASE_URL=f"http://127.0.0.1:{free_port()}")
    answer = service.call("/runner/x")
    assert (answer.status, answer.json) == (502, {"error": "runner_unreachable"})


# Health


def test_health(service: Gateway, runner: StubRunner) -> None:
    assert service.call("/healthz").json["status"] == "ok"
    ready = service.call("/readyz")
    assert ready.status == 200
    assert ready.json == {"ready": True, "database": "ok", "runner": "ok", "redis": "off"}
    runner.respond_with(StubResponse(503))
    ready = service.call("/readyz")
    assert (ready.status, ready.json["runner"]) == (503, "status 503")


@pytest.mark.slow
def test_not_ready(start: Start, tables: Database) -> None:
    port = free_port()
    service = start(
        DATABASE_URL=f"postgresql://u:hidden@127.0.0.1:{port}/x",
        RUNNER_BASE_URL=f"http://127.0.0.1:{port}",
        RUNNER_DEBUG_REDIS_URL=f"redis://:hidden@127.0.0.1:{port}",
    )
    ready = service.call("/readyz")
    assert ready.status == 503
    assert "ok" not in ready.json.values()
    answer = service.call(f"{DIRECT}/acme.x/hello", accept="application/problem+json")
    assert (answer.status, answer.json["error"]) == (503, "access_policy_unavailable")
    assert answer.json["problem"]["code"] == "gateway-database-down"
    service.stop()
    assert b"hidden" not in ready.body + answer.body + json.dumps(service.lines).encode()


# Events


def _events(service: Gateway, query: str, count: int) -> list[dict[str, Any]]:
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)) as link:
        link.request("GET", f"/algaenv/events{query}")
        answer = link.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        found: list[dict[str, Any]] = []
        while len(found) < count:
            line = answer.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
        return found


def test_events(start: Start, hello: Extension) -> None:
    service = start()
    service.call(f"{PROXY}/{hello.slug}/hello", x_request_id="one")
    service.call(f"{DIRECT}/unknown/hello", x_request_id="two")
    service.call(f"{DIRECT}/{hello.slug}/hello", x_request_id="three")
    told = _events(service, f"?extension={hello.registry}", 6)
    kinds = [(it["type"], it.get("request_id")) for it in told]
    assert kinds == [
        ("call-started", "one"),
        ("call-ended", "one"),
        ("call-ended", "two"),
        ("call-started", "three"),
        ("product-fault", "three"),
        ("call-ended", "three"),
    ]
    assert told[1]["status"] == 200
    assert told[1]["ms"] >= told[1]["runner_ms"] > 0
    assert told[2]["code"] == "gateway-extension-unknown"
    again = _events(service, f"?extension=other&after={told[1]['id']}", 1)
    assert again[0]["request_id"] == "two"
    # Who comes back after a restart with an id of the gateway before has missed all of them.
    assert _events(service, "?after=123456", 1)[0]["id"] == 1


@pytest.mark.parametrize(
    "case",
    [
        ("dist/app.js?v=1", "script", "cannot load the script dist/app.js"),
        ("dist/app.js", "", "cannot load the script dist/app.js"),
        ("a.css", "style", "cannot load the style sheet a.css"),
        ("worker", "worker", "cannot load the script worker"),
        ("settings", "iframe", None),
        ("settings.js", "document", None),
        ("settings", "", None),
    ],
)
def test_a_file_that_is_answered_with_the_page_is_an_error_of_the_page(
    start: Start, runner: StubRunner, hello: Extension, case: tuple[str, str, str | None]
) -> None:
    path, asked_for, told = case
    service = start()
    runner.respond_with(
        StubResponse(200, b"<!doctype html>", {"content-type": "text/html; charset=utf-8"})
    )
    headers = {"sec_fetch_dest": asked_for} if asked_for else {}
    place = f"/runner/ext-ui/{hello.registry}/sha256:{'1' * 64}/{path}"
    assert service.call(place, **headers).status == 200
    service.call(f"{DIRECT}/unknown/hello", x_request_id="last")
    events = _events(service, f"?extension={hello.registry}", 1 if told is None else 2)
    found = [it for it in events if it["type"] == "page-error"]
    assert [it["summary"].partition(":")[0] for it in found] == ([] if told is None else [told])
    assert all(it["hint"] for it in found)


def test_a_script_that_is_there_is_no_error(
    start: Start, runner: StubRunner, hello: Extension
) -> None:
    service = start()
    runner.respond_with(StubResponse(200, b"go()", {"content-type": "text/javascript"}))
    place = f"/runner/ext-ui/{hello.registry}/sha256:{'1' * 64}/app.js"
    assert service.call(place, sec_fetch_dest="script").status == 200
    service.call(f"{DIRECT}/unknown/hello", x_request_id="last")
    assert [it["type"] for it in _events(service, "", 1)] == ["call-ended"]


def test_a_watcher_does_not_keep_it_from_stopping(start: Start) -> None:
    service = start()
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)) as link:
        link.request("GET", "/algaenv/events")
        answer = link.getresponse()
        assert answer.readline()
        service.process.send_signal(signal.SIGTERM)
        assert answer.read().strip() == b""
    assert service.process.wait(4) == 0
    assert service.line("stopped")


# The process


def _run(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "algaenv.gateway"],
        env={"PATH": os.defpath, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_bad_variables(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text("{}")
    file.chmod(0o644)
    response = _run(PORT="x", RUNNER_BASE_URL="ftp://x", GATEWAY_SETTINGS=str(file))
    assert response.returncode == 1
    for part in ("DATABASE_URL", "RUNNER_BASE_URL", "TENANT_ID", "PORT", "chmod 600"):
        assert part in response.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_port_that_is_taken() -> None:
    with socket.socket() as take:
        take.bind(("127.0.0.1", 0))
        take.listen()
        port = take.getsockname()[1]
        response = _run(
            PORT=str(port),
            DATABASE_URL="postgresql://u:hidden@127.0.0.1/x",
            TENANT_ID="51bbbfe5-0720-4d9b-b3e5-b5b43e441a52",
        )
    assert response.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in response.stderr
    assert "hidden" not in response.stderr + response.stdout


def test_lines(service: Gateway, hello: Extension) -> None:
    # The service is shared, and so are its lines: an id that no other test uses.
    service.call(f"{DIRECT}/{hello.slug}/hello?secret=tell-nobody", x_request_id="test-lines")
    line = service.line("request", request_id="test-lines")
    assert line["path"] == f"/api/ext/{hello.slug}/hello"
    assert (line["extension"], line["user"], line["status"]) == (hello.slug, "msp", 200)
    assert line["ms"] >= line["runner_ms"] > 0
    assert "tell-nobody" not in json.dumps(service.lines)


# Settings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "settings: not an object"),
        ({"user": {}}, "unknown key 'user'"),
        ({"users": {"a": {"type": "x"}}}, "users.a.type: neither"),
        ({"users": {"a": {"permission": []}}}, "unknown key 'permission'"),
        ({"users": {"a": {"permissions": "x"}}}, "not a list of strings"),
        ({"checks_off": ["extension:fly"]}, "unknown check 'extension:fly'"),
        ({"faults_fixed": ["x"]}, "unknown fault 'x'"),
        ({"rate_limit": 5}, "rate_limit: neither"),
        ({"clients": [1]}, "clients: not a list of objects"),
        ({"extensions": {"a": {"ui_dev_server": 1}}}, "ui_dev_server: not a string"),
        ({"extensions": {"a": {"ui_dev_server": "javascript:x"}}}, "not an http(s) URL"),
    ],
)
def test_bad_settings(content: object, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.parse(content)
    assert words in str(caught.value)


def test_users_without_ids_are_apart() -> None:
    users = Settings.parse({"users": {"a": {}, "b": {}, "c": {"type": "client"}}}).users
    assert len({user.id for user in users}) == 3
    assert [user.is_client for user in users] == [False, False, True]


def test_shown() -> None:
    assert header_text("a\r\nb\u0100c") == "a b?c"
    assert len(header_text("x" * 10_000)) == MAX_HEADER_LENGTH
    assert "\n" not in header_text("\n\n\n")
