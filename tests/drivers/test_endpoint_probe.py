"""Asking an extension through the gateway, and what its answers come to."""

from __future__ import annotations

import hashlib
import http.server
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from algaenv.drivers.prober import ServiceProber
from algaenv.model.probe import ExtensionProbe, Never, NotYet, PageProbe, ProbeResult, Yes
from tests.drivers.test_probes import HOST, serving
from tests.servers import free_port

PAGE = b"<h1>page</h1>"
SHA = hashlib.sha256(PAGE).hexdigest()
Said = tuple[int, Mapping[str, str], bytes]
FINE: Said = (200, {}, PAGE)


@contextmanager
def gateway(answers: Mapping[str, Said], heard: list[Any]) -> Iterator[str]:
    """Answers each path as told, others 404, and keeps who asked for what."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            heard.append((self.path, self.headers["x-algaenv-user"]))
            status, headers, body = answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with serving(Server((HOST, 0), Handler)) as port:
        yield f"http://{HOST}:{port}"


def ask(
    answers: Mapping[str, Said], *paths: str, user: str = "", heard: list[Any] | None = None
) -> ProbeResult:
    with gateway(answers, [] if heard is None else heard) as url:
        page = PageProbe(f"{url}/page", 200, SHA) if "/page" in answers else None
        return ServiceProber().probe(ExtensionProbe(page, f"{url}/ext", paths, user, 5.0))


def test_page_and_endpoints_are_asked_in_turn() -> None:
    heard: list[Any] = []
    answers = {"/page": FINE, "/ext/a?b=c": (204, {}, b""), "/ext/d": (302, {}, b"")}
    assert ask(answers, "/a?b=c", "/d", user="glinda", heard=heard) == Yes()
    assert heard == [("/page", None), ("/ext/a?b=c", "glinda"), ("/ext/d", "glinda")]


def test_without_a_page_and_without_endpoints_there_is_nothing_to_ask() -> None:
    heard: list[Any] = []
    assert ask({}, heard=heard) == Yes()
    assert heard == []


def test_another_page_is_told_and_nothing_more_is_asked() -> None:
    heard: list[Any] = []
    answer = ask({"/page": (200, {}, b"other"), "/ext/a": FINE}, "/a", heard=heard)
    assert isinstance(answer, Never)
    assert "with other bytes" in answer.last
    assert heard == [("/page", None)]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_what_a_handler_answers_itself_is_told(status: int) -> None:
    answer = ask({"/ext/a?secret": (status, {}, b"no\n luck" + b"!" * 999)}, "/a?secret")
    assert isinstance(answer, Never)
    assert answer.last.startswith(f"GET /a answered {status}: no luck!!!")
    assert len(answer.last) < 350
    assert "algaenv call" in answer.hint
    assert answer.detail == ()


def test_why_the_runner_gave_up_is_told() -> None:
    gateway_headers = {
        "X-Algaenv-Error": "execute_failed: error while executing",
        "x-algaenv-reason": "wasm trap: unreachable",
        "x-algaenv-stderr": "panicked at src/lib.rs:7",
    }
    answer = ask({"/ext/a": (502, gateway_headers, b"{}")}, "/a")
    assert answer == Never(
        "GET /a answered 502: wasm trap: unreachable",
        answer.hint if isinstance(answer, Never) else "",
        ("execute_failed: error while executing", "stderr: panicked at src/lib.rs:7"),
    )


def test_what_the_gateway_refuses_comes_with_its_hint() -> None:
    gateway_headers = {
        "x-algaenv-error": "gateway-permission-missing: cannot call",
        "x-algaenv-hint": "so",
    }
    answer = ask({"/ext/a": (403, gateway_headers, b"{}")}, "/a")
    assert isinstance(answer, Never)
    assert (answer.hint, answer.detail) == ("so", ())
    assert "gateway-permission-missing: cannot call" in answer.last


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass(status: int) -> None:
    gateway_headers = {"x-algaenv-error": "gateway-runner-down: cannot reach the runner"}
    answer = ask({"/ext/a": (status, gateway_headers, b"{}")}, "/a")
    assert isinstance(answer, NotYet)
    assert "gateway-runner-down" in answer.last


def test_nobody_there_is_not_yet() -> None:
    probe = ExtensionProbe(None, f"http://{HOST}:{free_port()}", ("/a",), "", 5.0)
    answer = ServiceProber().probe(probe)
    assert isinstance(answer, NotYet)
    assert "refuses connections" in answer.last
