"""`make test` and `make test-slow` run every test between them, and CI runs both."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

BOTH = ("process", "docker")
KINDS = {
    "first up": "scenario/test_up.py::test_a_fresh_up_ends_with_a_page_that_answers[{}]",
    "no-op": "scenario/test_up.py::test_a_second_up_changes_nothing[{}]",
    "edit": "scenario/test_up.py::test_edited_html_is_a_new_object_and_nothing_restarts[{}]",
    "upgrade": "scenario/test_up.py::test_a_new_version_says_so[{}]",
    "down": "scenario/test_up.py::test_down_leaves_nothing_but_data_and_up_finds_it_again[{}]",
    "drift": "scenario/test_drift.py::test_a_service_stopped_by_hand_is_started[{}-redis]",
    "call": "scenario/test_handlers.py::test_handlers_are_nobody_elses_to_call"
    "_and_do_not_reach_the_environment[{}]",
    "the loop": "scenario/test_dev.py::test_save_break_mend[{}]",
    "gateway": "scenario/test_gateway.py::test_it_calls_handlers_and_shows_pages[{}]",
}
"""What `make test` shows on real servers of both runtimes."""
ONCE = {
    "removal": "scenario/test_up.py::test_an_extension_removed_from_the_spec_goes"
    "_and_a_foreign_one_stays[process]",
    "crash of processes": "crash/test_short.py::test_killed_at_boundaries[down --volumes]",
    "crash in containers": "crash/test_short.py::test_killed_in_containers[removal]",
    "earlier version": "scenario/test_recorded.py::test_an_environment_of_an_earlier_version"
    "_is_taken_over[process]",
    "external database": "scenario/test_external.py::test_a_fresh_extension_is_installed"
    "_for_the_only_tenant",
}


def environment(**more: str) -> Mapping[str, str]:
    """Ours, without what a `make` that runs this test tells its children."""
    own = {name: it for name, it in os.environ.items() if not name.startswith("MAKE")}
    return {**own, **more}


def commands_of(target: str) -> list[list[str]]:
    """The commands of pytest that `make` would run."""
    done = subprocess.run(
        ["make", "-n", target],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    return [shlex.split(it) for it in done.stdout.splitlines() if " -m pytest " in it]


def test_each_test_is_run_by_exactly_one_of_both() -> None:
    ((*quick, option, expression),) = commands_of("test")
    assert (option, expression) == ("-m", "not slow")
    assert quick[-5:] == ["pytest", "-n", "2", "--dist", "worksteal"]
    assert commands_of("test-slow") == [[*quick, "-m", "slow"]]
    assert commands_of("test-all") == [[*quick, "-m", "not slow"], [*quick, "-m", "slow"]]


def test_no_other_option_selects_tests(pytestconfig: pytest.Config) -> None:
    options = pytestconfig.getini("addopts")
    assert not {"-m", "-k", "--deselect", "--ignore"} & set(options)


@pytest.mark.parametrize("broken", ["", "test", "test-slow"])
def test_ci_runs_both_and_ends_as_they_do(tmp_path: Path, broken: str) -> None:
    make, log = tmp_path / "make", tmp_path / "log"
    make.write_text(f'#!/bin/sh\necho "$CI $*" >>"{log}"\n[ "$*" != "{broken}" ]\n')
    make.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([ROOT / ".ci/run"], check=False, env=environment(PATH=path))
    expected = ["true audit", "true test", "true test-slow"]
    assert log.read_text().splitlines() == expected[: 2 if broken == "test" else 3]
    assert (done.returncode != 0) == bool(broken)


def test_every_kind_of_scenario_is_in_make_test() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow"),
            *("tests/scenario", "tests/crash"),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    wanted = {it.format(runtime) for it in KINDS.values() for runtime in BOTH} | {*ONCE.values()}
    assert {f"tests/{it}" for it in wanted} - set(done.stdout.splitlines()) == set()
