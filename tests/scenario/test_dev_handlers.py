"""`dev` and handlers: they run from source after a save, and as components once these are built."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from algaenv.runner.components.shell import shell_digest
from tests import guests
from tests.scenario.conftest import docker_slow
from tests.scenario.dev_process import DevProcess, dev
from tests.scenario.handler_project import add_handler, ask, write_answer
from tests.scenario.project import Project


def detail(project: Project, name: str = "hello") -> str:
    found = next(it for it in project.status()["extensions"] if it["name"] == name)
    return str(found["detail"])


def turn_of(watching: DevProcess, runs_from: str, name: str = "hello") -> dict[str, Any]:
    """The next turn that applied an extension so."""
    while True:
        turn = watching.turn()
        for it in turn["extensions"]:
            assert it["state"] != "failed", turn
            if (it["name"], it["state"], it["runs_from"]) == (name, "applied", runs_from):
                return turn


@pytest.fixture
def with_handler(running: Project) -> Project:
    add_handler(running, "first")
    return running


@docker_slow("running")
def test_a_handler_runs_from_source_until_its_component_is_built(with_handler: Project) -> None:
    project = with_handler
    with dev(project) as watching:
        assert ask(project, "/x")[2] is False
        write_answer(project, "second")
        turn_of(watching, "source")
        assert ask(project, "/x") == (200, "second", True)
        assert detail(project).startswith("runs from source")

        write_answer(project, 'second" +')
        (hello,) = watching.turn()["extensions"]
        assert hello["state"] == "failed"
        (problem,) = hello["problems"]
        assert problem["file"].endswith("hello/src/body.ts")
        assert (problem["line"], problem["column"] > 1) == (1, True)
        assert ask(project, "/x") == (200, "second", True)

        write_answer(project, "second")
        (hello,) = watching.turn()["extensions"]
        assert (hello["state"], hello["runs_from"]) == ("unchanged", "source")
        (hello,) = turn_of(watching, "component")["extensions"]
        (differing,) = hello["differing"]
        assert (differing["method"], differing["path"]) == ("GET", "/x")
        assert differing["differences"]
        assert ask(project, "/x")[2] is False
        assert not detail(project).startswith("runs from source")

        write_answer(project, "third")
        turn_of(watching, "source")
        assert ask(project, "/x") == (200, "third", True)
        turn_of(watching, "component")
        assert watching.end() == 0
    assert project.up().ok().changed == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "code", "reason", "hint"),
    [
        (
            {"runner": {"environment": {"RUNNER_COMPILE_CPU_SECONDS": "1"}}},
            "handler-broken",
            "after 1 s of processor time",
            "set a higher RUNNER_COMPILE_CPU_SECONDS under `runner.environment`",
        ),
        ({"ready_timeout": "1s"}, "not-ready", "(waited 1 s)", "raise `ready_timeout`"),
    ],
)
def test_a_compile_that_takes_too_long_is_for_the_author_to_mend(
    running_process: Project, limit: dict[str, Any], code: str, reason: str, hint: str
) -> None:
    project = running_process
    add_handler(project, "first")
    runner = {**limit.get("runner", {}), "port": project.ports["runner"]}
    project.spec |= {**limit, "runner": runner}
    project.write()
    with dev(project, "--no-shell") as watching:
        shutil.copyfile(guests.built("everything-js"), project.root / "hello/main.wasm")
        turn = watching.turn()
        (hello,) = turn["extensions"]
        (problem,) = hello["problems"]
        assert (hello["state"], problem["code"]) == ("failed", code)
        assert reason in problem["summary"]
        assert hint in problem["hint"]
        assert "retry_seconds" not in turn, "only an edit is a new chance"
        assert ask(project, "/x")[0] == 200, "the last one that was compiled goes on"
        shutil.copyfile(guests.built("script"), project.root / "hello/main.wasm")
        assert not watching.turn()["failed"]
        assert watching.end() == 0


@pytest.mark.slow
def test_without_the_shell_only_components_run(with_handler: Project) -> None:
    project = with_handler
    with dev(project, "--no-shell") as watching:
        write_answer(project, "second")
        turn_of(watching, "component")
        assert ask(project, "/x")[2] is False
        assert watching.end() == 0


@pytest.mark.slow
def test_up_installs_the_component_of_what_was_left_from_source(with_handler: Project) -> None:
    project = with_handler
    with dev(project) as watching:
        write_answer(project, "second")
        turn_of(watching, "source")
        assert watching.end() == 0
    assert ask(project, "/x") == (200, "second", True)
    project.up().ok()
    assert ask(project, "/x")[2] is False
    assert not detail(project).startswith("runs from source")


@pytest.mark.slow
@docker_slow("project")
def test_the_shell_is_compiled_once_for_all_environments(project: Project) -> None:
    add_handler(project, "first")
    found = []
    for answer in ("second", "third"):
        # Without its data it is an environment that this machine has never seen.
        with dev(project) as watching:
            write_answer(project, answer)
            turn_of(watching, "source")
            found.append(_shell_lines(project))
        project.down("--volumes", "--yes").ok()
    if project.runtime == "docker" and os.geteuid() == 0:
        # Each environment has a user of its own, and none trusts the code of another.
        assert "compiled by another service" not in found[1]
        return
    # The first may have found it compiled as well: by another test, or another run on the engine.
    assert found[1] == {"compiled by another service"}


def _shell_lines(project: Project) -> set[str]:
    """What the runner's log says of the native code of the shell."""
    printed = project.text("logs", "runner", "--json", "--tail", "all").stdout
    lines = [line for line in printed.splitlines() if shell_digest().hex in line]
    messages = ("compiled by another service", "not compiled", "cpu_seconds")
    return {it for it in messages if any(it in line for line in lines)}
