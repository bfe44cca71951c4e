"""Asking a runner to make a handler ready, and what its answers come to."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from algaenv.drivers.prober import ServiceProber
from algaenv.model.probe import BrokenHandler, Never, NotYet, PrewarmRequest, ProbeResult, Yes
from tests.drivers.test_probes import HOST, serving, silent

HASH = "sha256:" + "ab" * 32
BUNDLE = "bundle/hello@abababababab"


@contextmanager
def runner(status: int, body: bytes, received: list[Any]) -> Iterator[str]:
    """Answers every POST alike, and keeps what it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            received.append((self.path, self.headers["content-type"], self.rfile.read(length)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with serving(Server((HOST, 0), Handler)) as port:
        yield f"http://{HOST}:{port}"


def prewarm(
    status: int, payload: object, received: list[Any] | None = None
) -> ProbeResult | BrokenHandler:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with runner(status, body, [] if received is None else received) as url:
        return ServiceProber().prewarm(PrewarmRequest(url, "tenant", "registry", HASH, BUNDLE))


READY = {"status": "ready", "handler": True, "bundle": "cached", "compiled": "new"}


def test_what_is_asked() -> None:
    received: list[Any] = []
    assert prewarm(200, READY, received) == Yes()
    ((path, kind, body),) = received
    assert (path, kind) == ("/warmup", "application/json")
    assert json.loads(body) == {"tenant": "tenant", "extension": "registry", "content_hash": HASH}


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (200, {"status": "ready", "handler": False}),
        (400, b"warmup unsupported without tenant + extension context"),
        (404, b""),
        (405, b""),
        (422, b"Failed to deserialize the JSON body into the target type"),
    ],
)
def test_runners_that_have_nothing_to_warm(status: int, payload: object) -> None:
    assert prewarm(status, payload) == Yes()


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (500, b"oops"),
        (503, {"code": "busy"}),
        (502, {"code": "bundle_fetch_failed", "error": "bundle_fetch_failed: 404 Not Found"}),
        (422, {"code": "execute_failed", "failure": {"kind": "host", "reason": "disk full"}}),
    ],
)
def test_what_may_pass(status: int, payload: object) -> None:
    answer = prewarm(status, payload)
    assert isinstance(answer, NotYet)
    assert f"/warmup answered {status}" in answer.last
    if isinstance(payload, dict):
        assert payload["code"] in answer.last


def test_other_bytes_never_become_right() -> None:
    answer = prewarm(502, {"code": "archive_hash_mismatch", "error": "…"})
    assert isinstance(answer, Never)
    assert "upload it again" in answer.hint


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("malformed", "as a component"),
        ("compile", "tool chain"),
        ("link", "alga:extension/runner"),
        ("signature", "export `handler"),
        ("something new", "tool chain"),
    ],
)
def test_a_handler_that_cannot_run(kind: str, hint: str) -> None:
    failure = {"kind": kind, "reason": "why\n it is so", "causes": ["outer", "inner"]}
    answer = prewarm(
        422, {"code": "execute_failed", "error": "execute_failed: x", "failure": failure}
    )
    assert isinstance(answer, BrokenHandler)
    assert answer.reason == "why it is so"
    assert answer.causes == ("outer", "inner")
    assert hint in answer.hint


@pytest.mark.parametrize(
    ("limit", "ready_timeout"),
    [
        ("RUNNER_COMPILE_CPU_SECONDS", True),
        ("RUNNER_COMPILE_SECONDS", True),
        ("RUNNER_COMPILE_MEMORY_BYTES", False),
    ],
)
def test_a_limit_that_was_met_says_how_to_raise_it(limit: str, ready_timeout: bool) -> None:
    failure = {"kind": "limit", "reason": f"it was ended ({limit})", "causes": ["x"]}
    answer = prewarm(
        422, {"code": "execute_failed", "error": "execute_failed: x", "failure": failure}
    )
    assert isinstance(answer, BrokenHandler)
    assert f"set a higher {limit} under `runner.environment`" in answer.hint
    assert ("raise `ready_timeout`" in answer.hint) is ready_timeout
    assert "tool chain" not in answer.hint


def test_a_failure_without_its_details() -> None:
    answer = prewarm(422, {"code": "execute_failed", "error": "execute_failed: not a component"})
    assert isinstance(answer, BrokenHandler)
    assert (answer.reason, answer.causes) == ("not a component", ())


def test_nobody_there_and_nobody_who_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("algaenv.drivers.prober.WARM_SECONDS", 0.2)
    with silent() as port:
        answer = ServiceProber().prewarm(
            PrewarmRequest(f"http://{HOST}:{port}", "t", "e", HASH, BUNDLE)
        )
    assert isinstance(answer, NotYet)
    assert "did not answer in time" in answer.last
    gone = ServiceProber().prewarm(PrewarmRequest(f"http://{HOST}:{port}", "t", "e", HASH, BUNDLE))
    assert isinstance(gone, NotYet)
    assert "refuses connections" in gone.last
