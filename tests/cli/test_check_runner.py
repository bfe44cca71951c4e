"""Checks against a gateway: what is sent, what passes, and what is said of what does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import pytest

from algaenv.bundle.value import replace
from algaenv.cli.check_runner import run_checks
from algaenv.cli.output.check_report import junit, result_lines, results_to_json, total_line
from algaenv.model.check import CheckResult
from algaenv.model.event import Report
from algaenv.model.intent import CallCheck, Check, ExpectedAnswer, PageCheck, ScheduleCheck
from algaenv.model.problem import Problem, Where
from algaenv.model.status import ExtensionEndpoint, ExtensionStatus
from tests.cli.schemas import check as check_schema
from tests.servers import free_port

WHERE = Where("algaenv.yaml", 7, 9)
ANY = ExpectedAnswer(None, (), None, {})
Answers = Mapping[str, tuple[int, str, bytes]]
"""`METHOD /path` → status, content type, body."""


@contextmanager
def gateway(answers: Answers) -> Iterator[tuple[str, list[tuple[str, bytes, dict[str, str]]]]]:
    asked: list[tuple[str, bytes, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            line = f"{self.command} {self.path}"
            asked.append((line, body, {k.lower(): v for k, v in self.headers.items()}))
            status, kind, content = answers.get(line, (404, "text/plain", b"nothing here"))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def status(url: str) -> ExtensionStatus:
    return ExtensionStatus(
        "notes",
        "R",
        "I",
        "1.0.0",
        "sha256:0",
        f"{url}/ext-ui/R/page?tenant=t",
        f"{url}/api/ext/R",
        (),
        True,
        portal_urls={"msp": f"{url}/msp/extensions/R"},
    )


def made(url: str, *checks: Check) -> list[CheckResult]:
    return list(run_checks(ExtensionEndpoint(url, "R", seconds=10.0), status(url), checks))


def a_call(expect: ExpectedAnswer = ANY, **more: Any) -> CallCheck:
    fields: dict[str, Any] = {
        "name": "a",
        "method": "GET",
        "path": "/x",
        "user": None,
        "headers": {},
        "body": None,
        "expect": expect,
        "where": WHERE,
    }
    return CallCheck(**(fields | more))


def test_a_call_is_sent_as_the_spec_says() -> None:
    with gateway({"POST /api/ext-proxy/R/x": (201, "application/json", b'{"a": [1]}')}) as (
        url,
        asked,
    ):
        expect = ExpectedAnswer(201, ({"a": [1]},), "[1]", {"content-type": "application/json"})
        sent = a_call(expect, method="POST", user="ada", headers={"x-m": "q"}, body='{"b": 1}')
        (result,) = made(url, sent)
    assert result.passed
    assert result.answer == "201 Created"
    ((_, body, headers),) = asked
    assert body == b'{"b": 1}'
    assert (headers["x-algaenv-user"], headers["x-m"]) == ("ada", "q")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("expect", "failures"),
    [
        (ANY, ("status: 404 instead of one below 400",)),
        (replace(ANY, status=404), ()),
        (replace(ANY, status=200), ("status: 404 instead of 200",)),
        (replace(ANY, status=404, json=({"a": 1},)), ("body: is no JSON",)),
        (replace(ANY, status=404, text="there"), ("body: does not contain 'there'",)),
        (
            replace(ANY, status=404, headers={"x-y": "1", "content-type": "text/html"}),
            (
                "header x-y: absent instead of '1'",
                "header content-type: 'text/plain' instead of 'text/html'",
            ),
        ),
    ],
)
def test_each_thing_that_did_not_come_is_named(
    expect: ExpectedAnswer, failures: tuple[str, ...]
) -> None:
    with gateway({}) as (url, _):
        (result,) = made(url, a_call(expect))
    assert result.failures == failures
    assert result.details == (("body: nothing here",) if failures else ())


def test_parameters_of_a_header_count_only_where_they_are_given() -> None:
    html = {"GET /api/ext-proxy/R/x": (200, "text/html; charset=utf-8", b"")}
    with gateway(html) as (url, _):
        for value, passes in (
            ("text/html", True),
            ("text/html; charset=utf-8", True),
            ("text/html; charset=latin-1", False),
        ):
            (result,) = made(url, a_call(replace(ANY, headers={"content-type": value})))
            assert result.passed is passes


def test_why_a_handler_failed_is_told() -> None:
    problem = {"code": "c", "summary": "s", "hint": "h", "reason": "r", "stderr": ["\x1b[2Jboom"]}
    body = json.dumps({"problem": problem}).encode()
    trapped = {"GET /api/ext-proxy/R/x": (502, "application/problem+json", body)}
    with gateway(trapped) as (url, _):
        (result,) = made(url, a_call())
    assert result.details == ("c: s", "reason: r", "stderr: \x1b[2Jboom", "hint: h")
    shown = result_lines(result)
    assert "\x1b" not in shown
    assert "stderr: \\x1b[2Jboom" in shown
    assert "at algaenv.yaml:7:9" in shown


PORTAL, PAGE = "GET /msp/extensions/R", "GET /ext-ui/R/page?tenant=t"
HTML = (200, "text/html; charset=utf-8", b"<h1>Notes</h1>")


@pytest.mark.parametrize(
    ("answers", "portal", "text", "failure"),
    [
        ({PORTAL: HTML, PAGE: HTML}, "msp", "Notes", ""),
        ({PORTAL: HTML, PAGE: HTML}, "msp", "Tasks", "page: does not contain 'Tasks'"),
        ({PORTAL: HTML}, "msp", None, "page: status 404 instead of 200"),
        ({PAGE: HTML}, "msp", None, "portal page: status 404 instead of 200"),
        (
            {PORTAL: (200, "text/plain", b""), PAGE: HTML},
            "msp",
            None,
            "portal page: text/plain instead of text/html",
        ),
        ({}, "client", None, "page: it has none in the portal client (its manifest has: msp)"),
    ],
)
def test_a_page_and_what_frames_it_must_load(
    answers: Answers, portal: str, text: str | None, failure: str
) -> None:
    with gateway(answers) as (url, asked):
        (result,) = made(url, PageCheck("p", portal, "ada", text, WHERE))
    assert result.failures == ((failure,) if failure else ())
    assert all(headers["x-algaenv-user"] == "ada" for _, _, headers in asked)


def schedule(name: str, method: str = "POST", path: str = "/r", install: str = "I") -> Any:
    fields = {"id": name, "name": name, "installId": install}
    return fields | {"endpointMethod": method, "endpointPath": path}


def ran(status_: str, error: str | None = None) -> tuple[int, str, bytes]:
    body = {"status": status_, "error": error, "detail": "it trapped" if error else None}
    return 200, "application/json", json.dumps(body).encode()


def test_every_schedule_of_an_endpoint_is_run() -> None:
    rows = [schedule("a"), schedule("b"), schedule("c", "GET"), schedule("d", install="other")]
    listed = (200, "application/json", json.dumps({"schedules": rows}).encode())
    answers = {
        "GET /algaenv/schedules": listed,
        "POST /algaenv/schedules/a/run": ran("success"),
        "POST /algaenv/schedules/b/run": ran("error", "status 500"),
        "POST /algaenv/schedules/c/run": (409, "application/json", b'{"error": "it is disabled"}'),
    }
    with gateway(answers) as (url, _):
        named, any_method, none = made(
            url,
            ScheduleCheck("s", "POST", "/r", WHERE),
            ScheduleCheck("s", "", "/r", WHERE),
            ScheduleCheck("s", "POST", "/other", WHERE),
        )
    assert (named.answer, named.failures) == ("2 runs", ("schedule b: status 500 (it trapped)",))
    assert any_method.failures[1] == "schedule c: it is disabled"
    assert none.failures == ("schedule: the extension has none of POST /other",)


def test_a_gateway_that_is_gone_fails_each_check() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    results = made(url, a_call(), PageCheck("p", "msp", None, None, WHERE))
    assert [it.passed for it in results] == [False, False]
    assert all("cannot reach the gateway" in it.failures[0] for it in results)
    assert total_line(results).startswith("2 checks: 0 passed, 2 failed.")


def test_results_for_programs() -> None:
    good = CheckResult("notes", "a", "GET /x", "200 OK", 12.5, (), (), WHERE)
    bad = replace(good, name="b\x00<", failures=("status: 500 instead of 200",), details=("d\x1b",))
    document = results_to_json("demo", (good, bad), ephemeral=True)
    check_schema("test", document)
    check_schema("test", results_to_json("demo", (), ephemeral=False, exit_code=3))
    assert (document["passed"], document["failed"]) == (1, 1)
    root = ElementTree.fromstring(junit("demo", (good, bad)))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    (failure,) = suite.findall("testcase/failure")
    assert failure.text == "status: 500 instead of 200\nd\\x1b"
    assert [it.get("name") for it in suite] == ["a", "b\\x00<"]


def test_an_up_that_failed_is_an_error_of_junit() -> None:
    report = Report("up", problems=(Problem("c", "cannot start", "mend it"),), error="Failed")
    root = ElementTree.fromstring(junit("demo", (), report))
    (error,) = root.findall("testsuite/testcase/error")
    assert error.get("message") == "cannot start"
    assert "mend it" in (error.text or "")
