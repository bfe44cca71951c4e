"""`compare`: what is asked of two targets, and how their answers are told apart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import run
from tests.cli.schemas import check
from tests.cli.test_call import FakeGateway, gateway, spec
from tests.servers import free_port


@contextmanager
def both(here: FakeGateway, there: FakeGateway) -> Iterator[tuple[dict[str, str], str]]:
    with gateway(here) as extra, gateway(there) as other:
        yield extra, other["GATEWAY"]


def compared(
    place: Path, here: FakeGateway, there: FakeGateway, *arguments: str
) -> subprocess.CompletedProcess[str]:
    spec(place)
    with both(here, there) as (extra, url):
        return run(
            place, "compare", "hello", "--with", url, *arguments, scenario="noop", extra=extra
        )


def test_equal_answers_to_the_declared_reads(tmp_path: Path) -> None:
    here, there = FakeGateway(headers={"x-algaenv-runner-ms": "3"}), FakeGateway()
    done = compared(tmp_path, here, there)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first.startswith("same  GET /status  200  ")
    assert lines[:4] == [
        "",
        "Left out:",
        "  GET /notes/:id: its path has parameters",
        "  POST /notes: its method may change something",
    ]
    assert lines[-1].startswith("1 call: 1 the same, 0 differ. ")
    ((method, path, _, headers),) = there.asked
    assert (method, path) == ("GET", "/api/ext-proxy/id-of-hello/status")
    # With it our gateway would say more than an app server does.
    assert "problem+json" not in headers["accept"]
    assert here.asked[0][:2] == (method, path)


def test_differences_are_printed_and_are_the_exit_code(tmp_path: Path) -> None:
    here = FakeGateway(body=b'{"a": 1, "b": [1]}', headers={"x-mode": "\x1b[31m"})
    there = FakeGateway(status=404, body=b'{"a": 2, "b": []}')
    done = compared(tmp_path, here, there)
    assert done.returncode == ExitCode.DIFFERENCES
    assert "\x1b" not in done.stdout
    assert [line.strip() for line in done.stdout.splitlines()[1:5]] == [
        "status: 200 → 404",
        'header x-mode: "\\u001b[31m" → absent',
        "body /a: 1 → 2",
        "body /b/0: 1 → absent",
    ]
    assert "1 call: 0 the same, 1 differs. " in done.stdout
    shown = compared(tmp_path, here, there, "--json")
    document = json.loads(shown.stdout)
    check("compare", document)
    assert (shown.returncode, document["same"], document["different"]) == (2, 0, 1)
    (call,) = document["calls"]
    assert call["status"] == [200, 404]
    assert call["differences"][-1] == {"what": "body", "at": "/b/0", "here": 1}
    assert len(document["left_out"]) == 2


@pytest.mark.slow
def test_what_is_told_to_be_ignored(tmp_path: Path) -> None:
    here, there = FakeGateway(body=b'{"a": 1}'), FakeGateway(status=404, body=b'{"a": 2}')
    rules = ("--ignore", "status", "--ignore", "body:/a")
    assert compared(tmp_path, here, there, *rules).returncode == 0


def test_calls_of_a_file_go_to_both_with_headers_for_one(tmp_path: Path) -> None:
    (tmp_path / "calls.yaml").write_text(
        "ignore: [status]\n"
        "calls:\n"
        "  - {path: /notes, body: {a: 1}, headers: {x-mode: quick}, user: client}\n"
        "  - GET /notes?limit=2\n"
    )
    (tmp_path / "session").write_text("cookie: s=1\n")
    here, there = FakeGateway(), FakeGateway(status=201)
    done = compared(
        tmp_path, here, there, "--calls", str(tmp_path / "calls.yaml"), "--direct",
        "--other-header", f"@{tmp_path / 'session'}", "--other-header", "x-more: 2",
        "--other-extension", "another", "--user", "glinda",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (written, read), (write_there, read_there) = here.asked, there.asked
    assert written[:3] == ("POST", "/api/ext/id-of-hello/notes", b'{"a": 1}')
    assert write_there[:3] == ("POST", "/api/ext/another/notes", b'{"a": 1}')
    assert (written[3]["x-mode"], written[3]["x-algaenv-user"]) == ("quick", "client")
    assert (read[1], read[3]["x-algaenv-user"]) == ("/api/ext/id-of-hello/notes?limit=2", "glinda")
    assert "cookie" not in read[3]
    assert (read_there[3]["cookie"], read_there[3]["x-more"]) == ("s=1", "2")


STREAM = {"content-type": "text/event-stream"}


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (FakeGateway(status=403, headers=STREAM), "answers 403 instead of its events"),
        (FakeGateway(headers={"content-type": "text/html"}), "answers text/html instead"),
        (FakeGateway(body=b"data: {\n\n", headers=STREAM), "an event that is no JSON object"),
        (FakeGateway(body=b"data: []\n\n", headers=STREAM), "an event that is no JSON object"),
    ],
)
def test_what_is_no_record(tmp_path: Path, here: FakeGateway, words: str) -> None:
    done = compared(tmp_path, here, FakeGateway(), "--recorded")
    assert done.returncode == ExitCode.RESOURCE
    assert "error[compare-nothing]" in done.stderr
    assert words in done.stderr


def test_recorded_reads(tmp_path: Path) -> None:
    ended = {"type": "call-ended", "gateway": "proxy", "method": "GET", "path": "/x", "user": "msp"}
    stream = "".join(
        f"id: {number}\ndata: {json.dumps(event)}\n\n"
        for number, event in enumerate((ended, ended, {**ended, "method": "PUT"}))
    )
    here, there = (FakeGateway(body=stream.encode(), headers=STREAM) for _ in range(2))
    done = compared(tmp_path, here, there, "--recorded")
    assert done.returncode == 0, done.stderr
    assert [asked[1] for asked in here.asked] == [
        "/algaenv/events?extension=id-of-hello",
        "/api/ext-proxy/id-of-hello/x",
    ]
    assert "PUT /x: its method may change something" in done.stdout
    nothing = FakeGateway(body=b": nothing yet\n\n", headers=STREAM)
    done = compared(tmp_path, nothing, FakeGateway(), "--recorded")
    assert done.returncode == ExitCode.RESOURCE
    assert "error[compare-nothing]" in done.stderr


@pytest.mark.slow
def test_the_path_of_the_other_target_is_kept(tmp_path: Path) -> None:
    spec(tmp_path)
    here, there = FakeGateway(), FakeGateway()
    with both(here, there) as (extra, url):
        line = ("compare", "hello", "--with", f"{url}/alga/")
        assert run(tmp_path, *line, scenario="noop", extra=extra).returncode == 0
    assert there.asked[0][1] == "/alga/api/ext-proxy/id-of-hello/status"


def test_targets_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    spec(tmp_path)
    here, there = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    done = run(
        tmp_path, "compare", "hello", "--with", there, scenario="noop", extra={"GATEWAY": here}
    )
    assert (done.returncode, done.stdout) == (ExitCode.NOT_READY, "")
    assert f"cannot reach the gateway at {here}: " in done.stderr
    assert f"cannot reach the gateway at {there}: " in done.stderr
    assert done.stderr.count("error[gateway-silent]") == 2
    assert "mend `--with`" in done.stderr


def test_a_bad_file_has_its_places(tmp_path: Path) -> None:
    (tmp_path / "calls.yaml").write_text("- GET status\n- path: /x\n  methd: GET\n")
    done = compared(tmp_path, FakeGateway(), FakeGateway(), "--calls", "calls.yaml")
    assert done.returncode == ExitCode.SPEC
    assert "calls.yaml:1:3: error[spec-call]" in done.stderr
    assert "calls.yaml:3:3: error[spec-key-unknown]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--with", "localhost:3000"), "as a target"),
        (("--with", "http://localhost:x"), "as a target"),
        (("--with", "http://x/?a=1"), "as a target"),
        (("--with", "http://h/\u00fc"), "as a target"),
        (("--with", "http://h/a b"), "as a target"),
        (("--with", "http://h\\x"), "as a target"),
        (("--with", "http://h/\x1b"), "as a target"),
        (("--with", "http://h/?"), "as a target"),
        (("--with", "http://@h"), "as a target"),
        (("--with", "http://a..b"), "as a target"),
        (("--with", f"http://{'a' * 64}"), "as a target"),
        (("--with", "http://x", "--user", "\u20ac"), "printable ASCII"),
        (("--with", "http://x", "--user", "a\nb"), "printable ASCII"),
        (("--with", "http://x", "--other-extension", "\udcff"), "not UTF-8"),
        (("--with", "http://x", "--calls", "a", "--recorded"), "--calls and --recorded"),
        (("--with", "http://x", "--ignore", "time", "--ignore", "body:x"), "'time' (it is none"),
        (("--with", "http://x", "--ignore", "time", "--ignore", "body:x"), "'body:x' (a place"),
        (("--with", "http://x", "--other-header", "cookie"), "header 1"),
        (("--with", "http://x", "--other-header", "cookie: \u00e9"), "header 1"),
        (("--with", "http://x", "--other-header", "@none"), "read headers from none"),
        ((), "--with"),
    ],
)
def test_wrong_command_lines(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    spec(tmp_path)
    done = run(tmp_path, "compare", "hello", *arguments, scenario="noop")
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("url", ["http://:hidden@h", "http://u:hidden@h", "http://h/ü@:hidden@"])
def test_a_password_is_not_printed(tmp_path: Path, url: str) -> None:
    spec(tmp_path)
    done = run(tmp_path, "compare", "hello", "--with", url, scenario="noop")
    assert done.returncode == ExitCode.USAGE
    assert "hidden" not in done.stdout + done.stderr
