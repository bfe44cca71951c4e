"""`call` that traces, repeats and records, and `replay`, against gateways that answer one thing."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.output.call_summary import quantile
from algaenv.cli.output.trace import size_text
from algaenv.model.trace import CallTrace, GuestLine, HostCall, read_trace
from tests.cli.program import Piped, run
from tests.cli.schemas import check
from tests.cli.test_call import FakeGateway, gateway
from tests.scenario.project import until

TRACE = {
    "times": {"queued": 0.1, "load": 0.2, "instantiate": 0.3, "run": 9.5, "waiting": 4},
    "lines": 3,
    "more": 2,
    "calls": [
        ["storage.put", 1.5, 4, 2048, 17, "", 1, "notes/a"],
        ["http.fetch", 6.0, 2.5, 10, 0, "no\x1b[31m", 2, "GET https://a.example/"],
    ],
}
ENTRIES = [
    {"ts": "1796065055976", "level": "info", "stream": "log", "message": "first"},
    {"ts": "1796065055977", "level": "error", "stream": "stderr", "message": "two\nlines\x07"},
    {"ts": "1796065055978", "level": "error", "stream": "log", "message": "execute failed: x"},
]


class TracingGateway:
    """Answers a call with a trace, and its debug stream with `entries`, one at a time."""

    def __init__(self, status: int = 200, entries: list[dict[str, str]] | None = None) -> None:
        self.status = status
        self.entries = ENTRIES if entries is None else entries
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.stream_status = 200

    def respond(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/api/ext-debug/stream"):
            last = json.loads(body)["lastId"]
            at = int(last) if last.isdigit() else 0
            document = {"events": self.entries[at : at + 1], "lastId": str(at + 1)}
            return self.stream_status, {}, json.dumps(document).encode()
        headers = {
            "x-algaenv-trace": json.dumps(TRACE),
            "x-algaenv-request-id": "3249b16b-4a0e",
            "set-cookie": "session=secret-cookie; Path=/",
        }
        return self.status, headers, b'{"token": "hidden-value", "n": 1}'


@contextmanager
def serving(fake: TracingGateway) -> Iterator[dict[str, str]]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            fake.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, headers, content = fake.respond(self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {"GATEWAY": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


SHOWN = """\
  request 3249b16b-4a0e
  runner: queued 0.1 ms, load 0.2 ms, instantiate 0.3 ms, run 9.5 ms, of it 4 ms waiting
  ├─ log: first
  ├─ storage.put notes/a  4 ms  at 1.5 ms, 2.0 KiB sent, 17 B received
  ├─ stderr: two
  │    | lines\\x07
  ├─ http.fetch GET https://a.example/  2.5 ms  at 6 ms, 10 B sent, 0 B received  error: no\\x1b[31m
  ├─ and 2 more host calls
  └─ -- 1 of 3 lines are missing --
"""


def test_verbose_shows_host_calls_and_lines_in_their_order(directory: Path) -> None:
    fake = TracingGateway()
    with serving(fake) as extra:
        done = run(directory, "call", "hello", "/x", "-v", scenario="noop", extra=extra)
        assert done.returncode == 0
        assert done.stderr.partition("\n")[2] == SHOWN
        assert fake.asked[0][1]["x-algaenv-trace"] == "1"
        path, _, body = fake.asked[1]
        assert path == "/api/ext-debug/stream?extensionId=id-of-hello&requestId=3249b16b-4a0e"
        assert json.loads(body)["lastId"].endswith("-0")
        fake.asked.clear()
        done = run(directory, "call", "hello", "/x", scenario="noop", extra=extra)
        assert "storage.put" not in done.stderr
        assert len(fake.asked) == 1


def test_what_a_failed_call_did_is_always_shown_and_a_silent_stream_is_no_failure(
    directory: Path,
) -> None:
    fake = TracingGateway(500)
    with serving(fake) as extra:
        done = run(directory, "call", "hello", "/x", scenario="noop", extra=extra)
        assert done.returncode == ExitCode.CALL
        assert done.stderr.partition("\n")[2] == SHOWN
        fake.stream_status = 503
        done = run(directory, "call", "hello", "/x", scenario="noop", extra=extra)
        assert "-- 3 of 3 lines are missing: the debug stream answers 503 --" in done.stderr
        done = run(directory, "call", "hello", "/x", "--json", scenario="noop", extra=extra)
    document = json.loads(done.stdout)
    check("call", document)
    assert document["request_id"] == "3249b16b-4a0e"
    assert [it["name"] for it in document["trace"]["host_calls"]] == ["storage.put", "http.fetch"]
    assert "x-algaenv-trace" not in document["headers"]


def test_a_runner_that_tells_nothing_is_said_so(directory: Path) -> None:
    with gateway(FakeGateway(headers={"x-algaenv-trace": "{"})) as extra:
        done = run(directory, "call", "hello", "/x", "-v", scenario="noop", extra=extra)
    assert (done.returncode, done.stdout) == (0, '{"hello": "world"}\n')
    assert "its runner does not tell what the call did" in done.stderr


@pytest.mark.parametrize("found", [None, [], {}, {"calls": 1}, {"calls": [1, [2], ["a"] * 8]}])
def test_a_trace_of_any_shape_can_be_read(found: object) -> None:
    trace = read_trace(found)
    assert trace is None or trace.lines == 0


def test_steps_keep_all_lines_however_few_came() -> None:
    lines = tuple(GuestLine(0, "info", "log", str(number)) for number in range(3))
    calls = (HostCall("a", 0, 0, 0, 0, lines=2), HostCall("b", 0, 0, 0, 0, lines=9))
    steps = CallTrace(host_calls=calls, lines=3, guest_lines=lines).steps
    names = [it.name if isinstance(it, HostCall) else it.message for it in steps]
    assert names == ["0", "1", "a", "2", "b"]
    assert [size_text(it) for it in (0, 1023, 1024, 1024**2)] == [
        *("0 B", "1023 B", "1.0 KiB", "1.0 MiB")
    ]


def test_a_repeated_call_is_summed_up(directory: Path) -> None:
    fake = FakeGateway(headers={"x-algaenv-runner-ms": "3.5"})
    with gateway(fake) as extra:
        arguments = ("call", "hello", "/x", "--repeat", "7")
        done = run(directory, *arguments, scenario="noop", extra=extra)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0] == "7 calls: 7 × 200"
        assert lines[1].split() == ["p50", "p95", "longest"]
        assert lines[3].split() == ["in", "the", "runner", *("3.5", "ms") * 3]
        assert len(fake.asked) == 7
        fake.status = 500
        done = run(directory, *arguments, "--json", scenario="noop", extra=extra)
    assert done.returncode == ExitCode.CALL
    document = json.loads(done.stdout)
    check("call-repeat", document)
    assert (document["failed"], document["statuses"]) == (7, {"500": 7})


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.5, 0.95, 1.0)] == [50.0, 95.0, 100.0]
    assert quantile([3.0], 0.5) == quantile([3.0], 0.95) == 3.0


@pytest.mark.parametrize(
    "wrong", [("--repeat", "0"), ("--repeat", "x"), ("--repeat", "2", "--record", "r.json")]
)
def test_wrong_repetitions_are_usage_errors(directory: Path, wrong: tuple[str, ...]) -> None:
    done = run(directory, "call", "hello", "/x", *wrong, scenario="noop")
    assert done.returncode == ExitCode.USAGE
    assert not (directory / "r.json").exists()


def record(directory: Path, extra: dict[str, str], *more: str) -> Path:
    path = directory / "r.json"
    arguments = ("call", "hello", "/x?a=1", "-d", '{"k": "hidden-value 😀"}', "--user", "glinda")
    done = run(directory, *arguments, "--record", str(path), *more, scenario="noop", extra=extra)
    assert done.returncode == 0, done.stderr
    return path


def test_a_recording_holds_the_call_and_its_answer_and_no_secret(directory: Path) -> None:
    with serving(TracingGateway()) as extra:
        path = record(directory, extra)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert "hidden-value" not in text
    assert "secret-cookie" not in text
    document = json.loads(text)
    assert document["request"] == {
        **{"method": "POST", "path": "/x?a=1", "user": "glinda"},
        "body": '{"k": "*** 😀"}',
    }
    assert document["masked"] is True
    assert document["answer"]["body"] == '{"token": "***", "n": 1}'
    assert document["answer"]["headers"]["set-cookie"] == "session=***"


def test_a_replay_makes_the_call_again_and_compares(directory: Path) -> None:
    fake = TracingGateway()
    with serving(fake) as extra:
        path = record(directory, extra)
        fake.asked.clear()
        done = run(directory, "replay", str(path), scenario="noop", extra=extra)
        assert (done.returncode, done.stdout[:4]) == (0, "same"), done.stdout
        assert "`***` is sent" in done.stderr
        (asked,) = fake.asked
        assert asked[0] == "/api/ext-proxy/id-of-hello/x?a=1"
        assert asked[1]["x-algaenv-user"] == "glinda"
        assert json.loads(asked[2]) == {"k": "*** 😀"}

        path.write_text(path.read_text().replace('\\"n\\": 1', '\\"n\\": 2'))
        done = run(directory, "replay", str(path), scenario="noop", extra=extra)
        assert done.returncode == ExitCode.DIFFERENCES
        assert "    body /n: 2 → 1\n" in done.stdout
        done = run(directory, "replay", str(path), "--json", scenario="noop", extra=extra)
        document = json.loads(done.stdout)
        check("replay", document)
        assert (document["same"], document["call"]["differences"]) == (
            *(False, [{"what": "body", "at": "/n", "here": 2, "there": 1}]),
        )
        ignored = ("--ignore", "body:/n", "-v")
        done = run(directory, "replay", str(path), *ignored, scenario="noop", extra=extra)
        assert (done.returncode, "storage.put" in done.stderr) == (0, True)


def test_a_wrong_recording_is_reported_with_all_its_places(directory: Path) -> None:
    path = directory / "r.json"
    path.write_text(
        '{"algaenv_recording": 1, "extension": "hello",\n'
        ' "request": {"method": "FETCH", "path": "x"},\n'
        ' "answer": {"status": "good"}}\n'
    )
    done = run(directory, "replay", str(path), scenario="noop")
    assert (done.returncode, done.stdout) == (ExitCode.SPEC, "")
    for place in (":2:24: ", ":2:41: ", ":3:23: "):
        assert f"r.json{place}" in done.stderr, done.stderr
    path.write_text("- x\n")
    done = run(directory, "replay", str(path), scenario="noop")
    assert (done.returncode, "as a recording" in done.stderr) == (ExitCode.SPEC, True)
    done = run(directory, "replay", "none.json", scenario="noop")
    assert (done.returncode, "none.json" in done.stderr) == (ExitCode.SPEC, True)


def test_only_a_recording_is_replaced_by_a_recording(directory: Path) -> None:
    other = directory / "other.json"
    other.write_text("{}")
    fake = TracingGateway()
    with serving(fake) as extra:
        for target in (str(other), "missing/r.json", str(directory)):
            arguments = ("call", "hello", "/x", "--record", target)
            done = run(directory, *arguments, scenario="noop", extra=extra)
            assert (done.returncode, fake.asked) == (ExitCode.USAGE, []), done.stderr
        record(directory, extra)
        record(directory, extra)
    assert other.read_text() == "{}"


def test_bytes_that_are_no_text_are_kept(directory: Path) -> None:
    (directory / "body").write_bytes(b"\xff\x00")
    fake = FakeGateway(body=b"\x00\xfe", headers={"content-type": "application/octet-stream"})
    with gateway(fake) as extra:
        arguments = ("call", "hello", "/x", "-d", "@body", "--record", "r.json", "-q")
        assert run(directory, *arguments, scenario="noop", extra=extra).returncode == 0
        done = run(directory, "replay", "r.json", scenario="noop", extra=extra)
    assert done.returncode == 0, done.stdout
    assert [it[2] for it in fake.asked] == [b"\xff\x00"] * 2


def test_an_interrupt_ends_repetitions_with_what_was_measured(directory: Path) -> None:
    fake = FakeGateway()
    arguments = ("call", "hello", "/x", "--repeat", "999999", "--json")
    with (
        gateway(fake) as extra,
        Piped.start(directory, *arguments, scenario="noop", extra=extra) as piped,
    ):
        until("some calls", lambda: len(fake.asked) > 3)
        piped.signal(signal.SIGINT)
        code, out, errors = piped.end()
    document = json.loads(out)
    check("call-repeat", document)
    assert (code, errors, document["wanted"]) == (ExitCode.INTERRUPTED, "", 999_999)
    assert 3 <= document["calls"] < 999_999
