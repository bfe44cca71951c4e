"""`logs`: its options, and how entries are shown to people and to programs."""

from __future__ import annotations

import argparse
import json
import signal
import time
from pathlib import Path

import pytest

from algaenv.cli.commands.logs import moment, pattern, tail
from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import Piped, Screen, run
from tests.cli.schemas import check

TEXT = """\
-- 2026-11-30 --
18:57:21.200  store     API: http://127.0.0.1:9000
18:57:22.000  database  [7] ERROR:  no table\\x07
18:57:23.000  hello     stderr: two  [3249b16b]
                      | lines
18:57:23.500  gateway   GET /x 200 1.5 ms  user=msp  [3249b16b]
-- 2026-12-01 --
18:57:23.000  runner    -- the service could not write 3 lines --
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


def test_lines_have_time_source_and_request_and_no_control_characters(directory: Path) -> None:
    done = run(directory, "logs", "--tail", "all", scenario="noop", extra={"TZ": "UTC"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == TEXT


def test_programs_get_an_object_a_line(directory: Path) -> None:
    done = run(directory, "logs", "--json", scenario="noop")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(documents) == 6
    for document in documents:
        check("logs", document)
    assert documents[3]["request_id"] == "3249b16b-4a0e"
    assert documents[2]["message"] == "[7] ERROR:  no \x1b[31mtable\x07"
    assert "\x1b" not in done.stdout


def test_colours_are_for_terminals(directory: Path) -> None:
    size = (120, 24)
    with Screen.start(directory, "logs", scenario="noop", size=size) as screen:
        assert screen.end() == 0
        assert "\x1b[33mstore" in screen.raw
        assert "no \x1b[31mtable" not in screen.raw
    extra = {"NO_COLOR": "1"}
    with Screen.start(directory, "logs", scenario="noop", size=size, extra=extra) as screen:
        assert screen.end() == 0
        assert "\x1b" not in screen.raw


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_following_ends_with_an_interrupt_and_says_nothing_more(
    directory: Path, json_: tuple[str, ...]
) -> None:
    with Piped.start(directory, "logs", "-f", *json_, scenario="noop") as piped:
        assert piped.process.stdout is not None
        lines = [piped.process.stdout.readline() for _ in range(5)]
        assert all(lines)
        piped.signal(signal.SIGINT)
        code, rest, errors = piped.end()
    assert (code, errors) == (ExitCode.INTERRUPTED, "")
    assert "interrupted" not in rest


def test_the_spec_may_be_named_before_the_command(directory: Path) -> None:
    for before in (("-f", "algaenv.yaml"), ("-falgaenv.yaml",), ("--file", "algaenv.yaml")):
        done = run(directory, *before, "logs", scenario="noop")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["logs", "trace"])
def test_who_names_the_spec_after_the_command_is_told_how(directory: Path, command: str) -> None:
    done = run(directory, command, "-f", "team/algaenv.yaml", scenario="noop")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "name the spec with --file, or with -f before the command" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "soon"), "'soon' is neither a time"),
        (("--tail", "-3"), "'-3' is no number of lines"),
        (("--tail", "some"), "'some' is no number of lines"),
        (("--grep", "("), "'(' is no regular expression"),
    ],
)
def test_bad_options_are_usage_errors(
    directory: Path, arguments: tuple[str, ...], words: str
) -> None:
    name, value = arguments
    done = run(directory, "logs", f"{name}={value}", scenario="noop")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert words in done.stderr


def test_moments_are_ago_or_iso() -> None:
    now = time.time()
    for text, seconds in (("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800)):
        assert moment(text) == pytest.approx(now - seconds, abs=5)
    assert moment("2026-11-30T18:57:21Z") == 1796065041.0
    assert moment("2026-11-30T19:57:21+01:00") == 1796065041.0
    for wrong in ("", "m", "10", "9" * 12 + "d"):
        with pytest.raises(argparse.ArgumentTypeError):
            moment(wrong)
    assert (tail("7"), tail("all")) == (7, -1)
    assert pattern("a|b") == "a|b"
