"""Annotations and groups of GitHub Actions."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from algaenv.cli.output.github import Annotator, GitHubSink
from algaenv.model.event import Report, Reported, RuntimeChosen, Warned
from algaenv.model.problem import Problem, Where
from tests.cli.program import run

PROBLEM = Problem("bad", "cannot: 50% of\nit, so", "mend it", Where("a.yaml", 3, 5), ("detail",))


@pytest.fixture
def annotator(tmp_path: Path) -> Annotator:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("")
    return Annotator({"GITHUB_WORKSPACE": str(tmp_path)}, (tmp_path / "sub",))


def test_a_place_is_relative_to_the_checkout_and_text_is_escaped(annotator: Annotator) -> None:
    assert annotator.of_problem(PROBLEM) == (
        "::error file=sub/a.yaml,line=3,col=5,title=bad::"
        "cannot: 50%25 of%0Ait, so%0Adetail%0Ahint: mend it\n"
    )
    named = annotator.line("text", "a: b, c", None, "notice")
    assert named == "::notice title=a%3A b%2C c::text\n"


def test_control_characters_begin_no_command(annotator: Annotator) -> None:
    line = annotator.line("\x1b[31m\r::set-env name=a::b", "t", None)
    assert line.count("\n") == 1
    assert "\r" not in line
    assert "\x1b" not in line


def test_lines_of_a_run_are_a_group_that_ends_before_the_summary(annotator: Annotator) -> None:
    out = io.StringIO()
    sink = GitHubSink(out, annotator, "algaenv up")
    sink.emit(RuntimeChosen("process", "why"))
    sink.emit(Warned(Problem("odd", "is odd")))
    sink.emit(Reported(Report("up", problems=(PROBLEM,))))
    sink.close()
    lines = out.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "::group::algaenv",
        "::warning",
        "::endgroup::",
        "::error",
    ]


def test_the_program_annotates_only_there(tmp_path: Path) -> None:
    (tmp_path / "algaenv.yaml").write_text("name: 1\n")
    done = run(tmp_path, "validate", scenario="spec", extra={"GITHUB_ACTIONS": "true"})
    assert done.returncode == 3
    assert "::error file=algaenv.yaml,line=1,col=" in done.stderr
    assert "::" not in done.stdout
    assert "::error" not in run(tmp_path, "validate", scenario="spec").stderr
