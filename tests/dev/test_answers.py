"""What a handler answered from source, against what its component answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from algaenv.dev.answers import compare, record, safe_calls
from algaenv.model.status import ExtensionStatus

ID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


class Answers(BaseHTTPRequestHandler):
    """Answers with the path, or with what a test has set for it."""

    changed: ClassVar[dict[str, tuple[int, object]]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        path = self.path.removeprefix("/api/ext/x")
        self.asked.append((path, self.headers.get("x-algaenv-user")))
        status, value = self.changed.get(path, (200, {"path": path}))
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def extension() -> Iterator[ExtensionStatus]:
    Answers.changed, Answers.asked = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api/ext/x"
        endpoints = (("GET", "/notes"), ("POST", "/notes"), ("GET", "/notes/:id"))
        yield ExtensionStatus("notes", ID, "", "1", "", None, url, endpoints, ready=True)
        server.shutdown()


def ended(path: str, method: str = "GET", **more: object) -> dict[str, object]:
    return {
        "type": "call-ended",
        "extension": ID,
        "gateway": "direct",
        "method": method,
        "path": path,
        **more,
    }


def test_calls_that_change_nothing(extension: ExtensionStatus) -> None:
    events = [
        ended("/notes/7", user="glinda"),
        ended("/notes/8", "DELETE"),
        ended("/notes/9", extension="another"),
    ]
    calls = [(it.method, it.path, it.user) for it in safe_calls(extension, events)]
    assert calls == [("GET", "/notes", None), ("GET", "/notes/7", "glinda")]
    made = safe_calls(extension, [ended("/notes", user="glinda"), ended("/notes", user="glinda")])
    assert [(it.path, it.user) for it in made] == [("/notes", "glinda")], "once"


def test_what_differs_is_found(extension: ExtensionStatus) -> None:
    calls = safe_calls(extension, [ended("/notes/7", user="glinda"), ended("/gone")])
    before = record(extension, calls, lambda: False)
    assert compare(extension, before, lambda: False) == ()
    Answers.changed = {"/notes/7": (200, {"path": "another"}), "/gone": (500, {"path": "/gone"})}
    differing = compare(extension, before, lambda: False)
    found = {it.call.path: [each.what for each in it.differences] for it in differing}
    assert found == {"/notes/7": ["body"], "/gone": ["status"]}
    assert ("/notes/7", "glinda") in Answers.asked


def test_an_interrupt_ends_it(extension: ExtensionStatus) -> None:
    calls = safe_calls(extension, [])
    assert record(extension, calls, lambda: True).answers == ()
    before = record(extension, calls, lambda: False)
    assert compare(extension, before, lambda: True) == ()


def test_who_does_not_answer_is_passed_over(extension: ExtensionStatus) -> None:
    from dataclasses import replace

    calls = safe_calls(extension, [])
    silent = replace(extension, call_url="http://127.0.0.1:9/api/ext/x")
    before = record(silent, calls, lambda: False)
    assert [it for _, it in before.answers] == [None]
    assert compare(extension, before, lambda: False) == ()
