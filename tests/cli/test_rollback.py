"""The command line of `rollback` and `restart`, over a fake application."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import run
from tests.cli.schemas import check


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


def test_versions_are_listed_with_the_one_before(demo: Path) -> None:
    done = run(demo, "rollback", "hello", scenario="noop")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:3] == [
        "version  bundle        released (UTC)",
        "0.2.0    cccccccccccc  2026-11-30 19:09:00  current",
        "0.1.0    bbbbbbbbbbbb  2026-11-30 19:08:00",
    ]
    assert "algaenv rollback hello --to bbbbbbbbbbbb" in done.stderr
    document = json.loads(run(demo, "rollback", "hello", "--json", scenario="noop").stdout)
    check("rollback", document)
    assert [it["current"] for it in document["versions"]] == [True, False, False]


def test_what_the_next_up_does_is_said(demo: Path) -> None:
    done = run(demo, "rollback", "hello", "--to", "bbbb", scenario="noop")
    assert (done.returncode, done.stdout) == (0, "hello is 0.1.0 (bbbbbbbbbbbb) now\n")
    assert "the next `up` or `dev` installs what it holds" in done.stderr
    assert "algaenv plan hello" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "scenario", "code", "said"),
    [
        (["hello", "--to", "9.9.9"], "noop", ExitCode.RESOURCE, "version-unknown"),
        (["hello", "--to", "0.1.0"], "noop", ExitCode.RESOURCE, "version-ambiguous"),
        (["hello"], "late", ExitCode.NOT_READY, "late"),
        ([], "noop", ExitCode.USAGE, "EXT"),
    ],
)
def test_what_cannot_be_gone_back_to_is_refused(
    demo: Path, arguments: list[str], scenario: str, code: ExitCode, said: str
) -> None:
    done = run(demo, "rollback", *arguments, scenario=scenario)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_a_restart_is_reported_as_any_run(demo: Path) -> None:
    done = run(demo, "restart", "runner", "--json", scenario="noop")
    assert done.returncode == 0
    (report,) = [json.loads(line) for line in done.stdout.splitlines()]
    check("events", report)
    assert report["verb"] == "restart"
