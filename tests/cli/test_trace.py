"""`trace`: what a gateway tells, put together as requests."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.request_traces import LINE_SECONDS, MAX_PENDING, RequestTraces
from algaenv.model.trace import RequestTrace
from tests.cli.program import Piped, run
from tests.cli.schemas import check
from tests.cli.test_replay import TRACE

NAMES = {"id-of-hello": "hello"}
AT = 1796065055972
CALL = {
    **{"extension": "id-of-hello", "gateway": "proxy", "method": "GET", "path": "/x"},
    "user": "msp",
}


def started(id_: int, request: str, **more: object) -> dict[str, Any]:
    event = {"id": id_, "at": AT, "type": "call-started", "request_id": request}
    return {**event, **CALL, **more}


def ended(id_: int, request: str, status: int = 200, **more: object) -> dict[str, Any]:
    event = started(id_, request, status=status, ms=50.25, **more)
    return {**event, "type": "call-ended", "at": AT + 50}


def line(request: str, message: str, **more: object) -> dict[str, Any]:
    entry = {"requestId": request, "level": "info", "stream": "log", "message": message}
    return {"ts": str(AT), "truncated": False, **entry, **more}


def logged(request: str, message: str, **more: object) -> dict[str, Any]:
    return {"type": "guest-log", "request_id": request, **line(request, message, **more)}


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(traces: RequestTraces, *events: dict[str, Any]) -> list[RequestTrace]:
    for event in events:
        traces.take(event)
    return list(traces.ended())


def test_a_request_is_whole_once_all_its_lines_are_there(clock: Clock) -> None:
    traces = RequestTraces(NAMES, clock)
    assert taken(traces, logged("r", "a"), started(1, "r")) == []
    assert taken(traces, ended(2, "r", runner_ms=40.0, trace=TRACE), logged("r", "b")) == []
    (found,) = taken(traces, logged("r", "c"))
    assert (found.extension, found.at, found.status, found.ms) == ("hello", AT, 200, 50.25)
    assert found.call is not None
    assert [it.message for it in found.call.guest_lines] == ["a", "b", "c"]
    assert found.call.missing == 0
    assert taken(traces) == []


def test_lines_that_do_not_come_are_waited_for_and_then_missing(clock: Clock) -> None:
    traces = RequestTraces(NAMES, clock)
    assert taken(traces, ended(1, "r", trace=TRACE), logged("r", "a")) == []
    clock.now += LINE_SECONDS
    (found,) = taken(traces)
    assert found.call is not None
    assert (found.call.lines, found.call.missing) == (3, 2)
    # Of a runner that does not tell, the lines that come are all.
    assert taken(traces, ended(2, "q"), logged("q", "x")) == []
    clock.now += LINE_SECONDS
    (found,) = taken(traces)
    assert found.call is not None
    assert (found.call.lines, found.call.missing) == (1, 0)


def test_refusals_schedules_and_failures_are_requests(clock: Clock) -> None:
    traces = RequestTraces(NAMES, clock)
    refused = ended(1, "r", 403, code="gateway-x", summary="cannot", hint="do", user=None)
    ran = {"id": 2, "at": AT, "type": "schedule-ran", "request_id": "s", "status": "error"}
    ran |= {
        "extension": "other",
        "method": "GET",
        "path": "/x",
        "ms": 3,
        "error": "no",
        "detail": "d",
    }
    traces.take(refused)
    traces.take(ran)
    traces.take({"id": 3, "type": "guest-failure", "request_id": "r"})
    traces.take({"id": 4, "type": "page-error"})
    first, second = traces.ended(all_=True)
    assert (first.problem, first.hint, first.user) == ("gateway-x: cannot", "do", "")
    assert (first.runner_ms, first.failed) == (None, True)
    assert (second.entry, second.status, second.problem) == ("schedule", 500, "no")
    assert (second.extension, second.reason) == ("other", "d")


def test_events_that_were_lost_are_counted_and_a_new_gateway_counts_anew(clock: Clock) -> None:
    traces = RequestTraces(NAMES, clock)
    taken(traces, started(7, "a"), started(8, "b"))
    assert traces.lost == 0
    taken(traces, started(12, "c"))
    assert traces.lost == 3
    taken(traces, started(1, "d"), started(2, "e"))
    assert traces.lost == 3


def test_no_more_is_kept_than_there_is_room_for(clock: Clock) -> None:
    traces = RequestTraces(NAMES, clock)
    for number in range(MAX_PENDING + 10):
        traces.take(logged(f"r{number}", "a"))
    assert len(traces._pending) == MAX_PENDING


class FakeGateway:
    """Streams of events and of lines; what is added later is sent to those who listen."""

    def __init__(self, events: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
        self.streams = {"/algaenv/events": events, "/api/ext-debug/stream": lines}
        self.changed = threading.Condition()
        self.ends = False

    def add(self, event: dict[str, Any]) -> None:
        with self.changed:
            self.streams["/algaenv/events"].append(event)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ends = True
            self.changed.notify_all()

    def after(self, path: str, sent: int) -> list[dict[str, Any]]:
        with self.changed:
            self.changed.wait_for(lambda: self.ends or len(self.streams[path]) > sent)
            return [] if self.ends else self.streams[path][sent:]


@contextmanager
def serving(fake: FakeGateway) -> Iterator[dict[str, str]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self.send_response(200)
            stream = parts.path in fake.streams
            self.send_header("content-type", "text/event-stream" if stream else "text/plain")
            self.end_headers()
            if not stream:
                return
            if parts.path.startswith("/api"):
                assert parse_qs(parts.query)["extensionId"] == ["id-of-hello"]
            sent = 0
            while events := fake.after(parts.path, sent):
                sent += len(events)
                for event in events:
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {"GATEWAY": f"http://127.0.0.1:{server.server_port}", "TZ": "UTC"}
    finally:
        fake.end()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


EVENTS = [
    started(1, "3249b16b-4a0e"),
    ended(2, "3249b16b-4a0e", runner_ms=40.0, trace=TRACE),
    ended(3, "5fd67822-aaaa", 404, code="gateway-x", summary="cannot \x1b[31mdo", hint="mend it"),
    ended(4, "6f412621-bbbb", 500, runner_ms=1.5, error="trap:\n    0: x", reason="why"),
    started(5, "77777777-cccc"),
]
LINES = [
    line("3249b16b-4a0e", "one hidden-value"),
    line("3249b16b-4a0e", "two", stream="stderr", level="error"),
    line("3249b16b-4a0e", "three"),
]
TREE = """\
18:57:35.972  hello  GET /x  200  50.25 ms  [3249b16b]
├─ gateway: proxy entry point, user msp, allowed, 10.25 ms of its own
├─ runner: 40 ms (queued 0.1 ms, load 0.2 ms, instantiate 0.3 ms, run 9.5 ms, of it 4 ms waiting)
│  ├─ log: one ***
│  ├─ storage.put notes/a  4 ms  at 1.5 ms, 2.0 KiB sent, 17 B received
│  ├─ stderr: two
│  ├─ http.fetch GET https://a.example/  2.5 ms  at 6 ms, 10 B sent, 0 B received  error: no\\x1b[31m
│  ├─ log: three
│  └─ and 2 more host calls
└─ answer: 200

18:57:35.971  hello  GET /x  404  50.25 ms  [5fd67822]
├─ gateway: proxy entry point, user msp, refused
└─ answer: 404  gateway-x: cannot \\x1b[31mdo
   hint: mend it

18:57:35.971  hello  GET /x  500  50.25 ms  [6f412621]
├─ gateway: proxy entry point, user msp, allowed, 48.75 ms of its own
├─ runner: 1.5 ms
└─ answer: 500  trap: 0: x (why)

18:57:35.972  hello  GET /x  running  [77777777]
├─ gateway: proxy entry point, user msp, allowed
└─ no answer yet

"""  # noqa: E501 - as it is shown


def test_kept_requests_are_shown_as_trees(directory: Path) -> None:
    with serving(FakeGateway(EVENTS, LINES)) as extra:
        done = run(directory, "trace", scenario="noop", extra=extra)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", TREE)


def test_requests_are_chosen(directory: Path) -> None:
    with serving(FakeGateway(EVENTS, LINES)) as extra:

        def ids(*arguments: str) -> list[str]:
            done = run(directory, "trace", *arguments, "--json", scenario="noop", extra=extra)
            assert done.returncode == 0, done.stderr
            documents = [json.loads(text) for text in done.stdout.splitlines()]
            for document in documents:
                check("trace", document)
            return [it["request_id"][:2] for it in documents]

        assert ids() == ["32", "5f", "6f", "77"]
        assert ids("--failed", "--last", "1") == ["6f"]
        assert ids("--request", "5fd6") == ["5f"]
        assert ids("hello", "--last", "2") == ["6f", "77"]
        done = run(directory, "trace", "--request", "no", scenario="noop", extra=extra)
        assert (done.returncode, done.stdout) == (0, "")
        assert "no such requests" in done.stderr
        done = run(directory, "trace", "helo", scenario="noop", extra=extra)
        assert (done.returncode, "did you mean `hello`?" in done.stderr) == (7, True)


def test_it_follows_and_says_what_was_lost(directory: Path) -> None:
    fake = FakeGateway(EVENTS[:4], LINES)
    with (
        serving(fake) as extra,
        Piped.start(
            directory, "trace", "-f", "--last", "1", "--json", scenario="noop", extra=extra
        ) as piped,
    ):
        assert piped.process.stdout is not None
        first = json.loads(piped.process.stdout.readline())
        assert first["request_id"].startswith("6f")
        fake.add(ended(9, "next"))
        second = json.loads(piped.process.stdout.readline())
        assert second["request_id"] == "next"
        piped.signal(signal.SIGINT)
        code, rest, errors = piped.end()
    assert (code, rest) == (ExitCode.INTERRUPTED, "")
    assert errors == "-- 4 events of the gateway were lost: requests may be missing here --\n"


def test_a_silent_gateway_is_reported(directory: Path) -> None:
    done = run(directory, "trace", "-f", scenario="noop", extra={"GATEWAY": "http://127.0.0.1:9"})
    assert (done.returncode, done.stdout) == (ExitCode.NOT_READY, "")
    assert "error[gateway-silent]" in done.stderr
