"""How the events that a gateway has kept are read from a stream that does not end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from algaenv.cli import gateway_events
from algaenv.cli.gateway_events import MOST_EVENTS, recorded_events
from algaenv.gateway.events import HISTORY_SIZE
from algaenv.model.status import ExtensionEndpoint

Send = Callable[[bytes], None]
MESSAGE = b"id: 1\ndata: " + json.dumps({"type": "call-ended", "at": 1}).encode() + b"\n\n"


@contextmanager
def stream(script: Callable[[Send, Event], None], late: float = 0.0) -> Iterator[ExtensionEndpoint]:
    """A gateway whose events are what `script` sends until the event is set."""
    stop = Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            stop.wait(late)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                script(self.send_chunk, stop)
            except OSError:
                self.close_connection = True

        def send_chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield ExtensionEndpoint(f"http://127.0.0.1:{server.server_port}", "hello", seconds=20.0)
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


def steadily(piece: bytes) -> Callable[[Send, Event], None]:
    def script(send: Send, stop: Event) -> None:
        while not stop.wait(0.05):
            send(piece)

    return script


def test_as_many_are_read_as_a_gateway_keeps() -> None:
    assert MOST_EVENTS == HISTORY_SIZE

    def script(send: Send, stop: Event) -> None:
        send(MESSAGE * (MOST_EVENTS + 5))
        stop.wait()

    with stream(script) as endpoint:
        assert len(recorded_events(endpoint)) == MOST_EVENTS


def test_steady_events_end_whatever_the_clock_of_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_events, "_SECONDS", 0.5)
    with stream(steadily(MESSAGE)) as endpoint:
        events = recorded_events(endpoint)
    assert 0 < len(events) < MOST_EVENTS


def test_a_line_without_an_end_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_events, "_SECONDS", 0.5)
    with stream(steadily(b"data: ")) as endpoint:
        assert recorded_events(endpoint) == []


def test_an_answer_may_begin_later_than_events_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_events, "_QUIET_SECONDS", 0.2)

    def script(send: Send, stop: Event) -> None:
        send(b": hello\n\n")
        send(MESSAGE)
        stop.wait()

    with stream(script, late=0.6) as endpoint:
        assert [event["type"] for event in recorded_events(endpoint)] == ["call-ended"]
