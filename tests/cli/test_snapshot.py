"""The command line of `snapshot`, over a fake application."""

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


def test_snapshots_are_listed(demo: Path) -> None:
    done = run(demo, "snapshot", "list", scenario="noop")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "name    saved (UTC)          from     postgres  database  objects",
        "later   2026-11-30 19:08:00  docker   18        3.0 MiB   1, 900 bytes",
        "before  2026-11-29 19:08:00  process  18        2.0 KiB   12, 2.0 GiB",
    ]
    document = json.loads(run(demo, "snapshot", "list", "--json", scenario="noop").stdout)
    check("snapshot", document)
    assert [it["name"] for it in document["snapshots"]] == ["later", "before"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["save", "one"], "saved the snapshot one: a database of 3.0 MiB, 1 object (900 bytes)"),
        (["restore", "one", "--yes"], "restored the snapshot one: a database of 3.0 MiB, 1 object"),
        (["delete", "one"], "removed the snapshot one"),
    ],
)
def test_what_was_done_is_said(demo: Path, arguments: list[str], line: str) -> None:
    done = run(demo, "snapshot", *arguments, scenario="noop")
    assert (done.returncode, done.stdout.startswith(line)) == (0, True), done.stdout
    shown = run(demo, "snapshot", *arguments, "--json", scenario="noop")
    document = json.loads(shown.stdout)
    check("snapshot", document)
    assert (document["action"], document["snapshots"][0]["name"]) == (arguments[0], "one")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restore", "one"], "nobody to ask"),
        (["save"], "without a name"),
        (["save", "A b"], "as the name of a snapshot"),
        (["save", "../x"], "as the name of a snapshot"),
        (["list", "one"], "a list takes no name"),
        (["delete", "one", "--yes"], "cannot use --yes with delete"),
        (["restore", "one", "--replace"], "cannot use --replace with restore"),
        (["sav", "one"], "save"),
        ([], "ACTION"),
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    demo: Path, arguments: list[str], said: str
) -> None:
    done = run(demo, "snapshot", *arguments, scenario="noop")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert said in done.stderr


def test_a_problem_ends_it(demo: Path) -> None:
    done = run(demo, "snapshot", "save", "one", scenario="late")
    assert (done.returncode, done.stdout) == (ExitCode.NOT_READY, "")
