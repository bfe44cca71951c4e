"""`--isolated` and ALGAENV_ISOLATED, as far as no environment has to be up for them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from algaenv.cli.dispatch import read_command_line
from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.invocation import CommandInvocation
from algaenv.cli.output.terminal import Terminal
from algaenv.cli.parser import UsageError
from tests.cli.program import run


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spec_of(*words: str, isolated: str = "") -> Path:
    """The path that stands for the environment of a command line."""
    _, options = read_command_line(words)
    assert isinstance(options, argparse.Namespace)
    terminal = Terminal.of((sys.stdin, sys.stdout, sys.stderr), {}, no_color=True, quiet=True)
    environ = {"ALGAENV_ISOLATED": isolated} if isolated else {}
    return CommandInvocation("status", options, terminal, environ).spec()


def path(demo: Path, name: str) -> Path:
    return demo / ".algaenv" / "isolated" / name / "algaenv.yaml"


@pytest.mark.parametrize(
    ("words", "isolated", "name"),
    [
        (["status", "--isolated", "feature"], "", "feature"),
        (["status", "--isolated=feature"], "other", "feature"),
        (["status", "--isolated"], "", "isolated"),
        (["logs", "runner", "--isolated"], "", "isolated"),
        (["down"], "feature", "feature"),
        (["-f", ".", "status", "--isolated"], "", "isolated"),
    ],
)
def test_an_environment_is_named_by_the_option_or_the_variable(
    demo: Path, words: list[str], isolated: str, name: str
) -> None:
    assert spec_of(*words, isolated=isolated) == path(demo, name)


def test_without_it_the_spec_stands_for_its_environment(demo: Path) -> None:
    assert spec_of("status") == demo / "algaenv.yaml"
    assert spec_of("validate", isolated="feature") == demo / "algaenv.yaml"


def test_a_path_of_ps_stands_for_itself(demo: Path) -> None:
    own = path(demo, "feature")
    assert spec_of("status", "-f", str(own)) == own
    assert spec_of("status", "-f", str(own), isolated="other") == own
    assert spec_of("status", "-f", str(own), "--isolated", "feature") == own
    with pytest.raises(UsageError, match="is that of feature"):
        spec_of("status", "-f", str(own), "--isolated", "other")


def test_commands_about_the_authors_file_are_about_that(demo: Path) -> None:
    for command in ("validate", "new"):
        words = [command, "hello", "-f"] if command == "new" else [command, "-f"]
        assert spec_of(*words, str(path(demo, "feature"))) == demo / "algaenv.yaml"


def test_the_variable_does_not_lead_away_from_an_ephemeral_environment(demo: Path) -> None:
    own = demo / ".algaenv-test-1a2b.yaml"
    assert spec_of("status", "-f", str(own), isolated="feature") == own


def test_what_is_no_name_is_refused(demo: Path) -> None:
    with pytest.raises(UsageError, match="no name of up to 20"):
        spec_of("status", "--isolated", "../x")
    with pytest.raises(UsageError, match="ALGAENV_ISOLATED"):
        spec_of("status", isolated="Feature")
    done = run(demo, "status", extra={"ALGAENV_ISOLATED": "a b"})
    assert done.returncode == ExitCode.USAGE
    assert "correct the variable, or unset it" in done.stderr
    both = run(demo, "test", "--ephemeral", "--isolated")
    assert both.returncode == ExitCode.USAGE
    assert "leave one of them out" in both.stderr


def test_next_commands_name_it(demo: Path) -> None:
    done = run(demo, "up", "--isolated", "feature", scenario="noop")
    assert "algaenv down --isolated=feature" in done.stderr
