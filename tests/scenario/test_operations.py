"""What is done to an environment that is up: going back, restarting, waiting, looking into it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.schemas import check
from tests.forked_program import ForkedProgram
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page, until


@docker_slow("running")
def test_going_back_and_forth_between_versions(running: Project) -> None:
    project = running
    project.extension(html="<h1>older</h1>", version="0.1.0")
    project.up().ok()
    project.extension(html="<h1>newer</h1>", version="0.2.0")
    project.up().ok()
    listed = json.loads(project.text("rollback", "hello", "--json").stdout)["versions"]
    assert [(it["version"], it["current"]) for it in listed] == [("0.2.0", True), ("0.1.0", False)]
    back = project.run("rollback", "hello", "--to", "0.1.0").ok()
    assert back.steps() == {"update release/hello": "done"}
    assert project.page() == page("<h1>older</h1>")
    (shown,) = project.status()["extensions"]
    assert (shown["version"], shown["ready"]) == ("0.1.0", True)
    planned = project.text("plan")
    assert "manifest version 0.1.0 → 0.2.0" in planned.stdout
    # The source says so; and what was gone back to is kept as the version before.
    assert project.up().ok().steps() == {"update release/hello": "done"}
    assert project.page() == page("<h1>newer</h1>")
    assert len(project.objects()) == 2


@docker_slow("running")
def test_a_restart_starts_one_service_anew_and_changes_nothing_else(running: Project) -> None:
    project = running
    project.keep_a_row()
    before = {it["name"]: it for it in project.status()["services"]}
    kind = "container" if project.runtime == "docker" else "process"
    for service in ("runner", "database"):
        run = project.run("restart", service).ok()
        assert run.steps() == {f"start {kind}/{service}": "done"}
        assert run.cause(f"{kind}/{service}") == "restarted"
    assert {it["name"]: it for it in project.status()["services"]} == before
    assert project.kept()
    assert project.page() == page("<h1>hello</h1>")
    assert project.up().ok().changed == 0


def own_notes(project: Project) -> dict[str, str]:
    """A directory of notes that no other test sees."""
    return {**project.environ, "XDG_STATE_HOME": str(project.root / "notes")}


@docker_slow("running")
def test_a_program_reaches_its_service(running: Project) -> None:
    project = running
    words = ["-f", str(project.file), "--", "psql", "-Atc", "SELECT current_database()"]
    asked = ForkedProgram(
        "algaenv",
        ["exec", "database", *words],
        environment=project.environment(),
        directory=project.root,
    )
    with asked as process:
        out, err = process.communicate(timeout=60)
    assert (process.wait(), out) == (0, "server\n"), err
    password = project.secrets()["DB_PASSWORD_ADMIN"]
    assert password not in err
    assert project.text("wait", "hello", "database", "--timeout", "30s").returncode == 0


def test_a_stopped_service_is_waited_for(running_process: Project) -> None:
    project = running_process
    record = json.loads((project.home / "run/redis.json").read_text())
    os.kill(record["shim"]["pid"], signal.SIGKILL)
    until("it is gone", lambda: "ready" not in state(project, "redis"))
    late = project.text("wait", "redis", "--timeout", "1s")
    assert late.returncode == 6
    assert "cannot wait longer for redis: stopped" in late.stderr
    project.up().ok()
    assert project.text("wait", "--timeout", "30s").returncode == 0


def state(project: Project, service: str) -> str:
    return next(str(it["state"]) for it in project.status()["services"] if it["name"] == service)


@pytest.mark.parametrize(
    "runtime",
    ["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])],
)
def test_all_environments_are_listed_and_taken_down(
    runtime: str, make_project: Callable[..., Project], request: pytest.FixtureRequest
) -> None:
    if runtime == "docker":
        request.getfixturevalue("engine")
    project = make_project(runtime)
    project.environ = own_notes(project)
    project.up().ok()

    def listed() -> dict[str, Any]:
        done = subprocess.run(
            [*project.command("ps", "--json")[:-2]],
            capture_output=True,
            text=True,
            env=project.environment(),
            check=True,
            timeout=60,
        )
        document = json.loads(done.stdout)
        check("ps", document)
        found = [it for it in document["environments"] if it["id"] == project.id]
        return found[0] if found else {}

    up = listed()
    assert (up["name"], up["runtime"], up["state"]) == (project.name, runtime, "up")
    assert (up["running"], up["detail"]) == (5, "")
    assert up["ports"]["gateway"] == project.ports["gateway"]
    assert up["bytes"] > 100_000

    def down(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*project.command("down", "--all", *arguments)[:-2]],
            capture_output=True,
            text=True,
            env=project.environment(),
            check=False,
            timeout=120,
        )

    refused = down()
    assert refused.returncode == 64
    assert listed()["state"] == "up"
    done = down("--yes")
    assert done.returncode == 0, done.stderr
    assert (listed()["state"], listed()["running"]) == ("down", 0)
    gone = down("--yes", "--volumes")
    assert gone.returncode == 0, gone.stderr
    assert not (project.root / ".algaenv").exists()
    assert list((project.root / "notes/algaenv/environments").iterdir()) == []
