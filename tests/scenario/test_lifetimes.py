"""Environments with an end, and runs with a limit on their time, with the real program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from algaenv.system import locks
from algaenv.system.lifetime import LOCK
from tests.cli.schemas import check
from tests.scenario.project import Project, until
from tests.scenario.test_operations import own_notes


@contextmanager
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(
    params=["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])]
)
def project(request: pytest.FixtureRequest, make_project: Callable[..., Project]) -> Project:
    if request.param == "docker":
        request.getfixturevalue("engine")
    made = make_project(request.param)
    made.environ = own_notes(made)
    made.extension()
    return made


def listed(project: Project) -> dict[str, Any]:
    done = subprocess.run(
        project.command("ps", "--json")[:-2],
        capture_output=True,
        text=True,
        env=project.environment(),
        check=True,
        timeout=60,
    )
    document = json.loads(done.stdout)
    check("ps", document)
    found: dict[str, Any] = next(
        it for it in document["environments"] if it["spec"] == str(project.file)
    )
    return found


@pytest.mark.slow
def test_an_environment_ends_with_its_owner_and_with_its_time(project: Project) -> None:
    with owner() as process:
        project.up("--owner-pid", str(process.pid), "--wait-timeout", "5m").ok()
        shown = listed(project)
        assert (shown["state"], shown["owner_pid"], shown["expires"]) == ("up", process.pid, None)
        # Its time is not over: nothing is taken down.
        early = project.down("--expired")
        assert early.code == 0
        assert listed(project)["state"] == "up"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
    home = project.home
    until("nobody watches", lambda: not locks.is_locked(home / LOCK))
    shown = listed(project)
    # Its data is there for the next `up`, which begins without an end.
    assert (shown["state"], shown["owner_pid"], shown["expired"]) == ("down", None, False)

    # The end of a time, with the data; an `up` before it has begun the time anew.
    project.up("--ttl", "10m").ok()
    first = listed(project)["expires"]
    assert first is not None
    project.up("--ttl", "1s", "--expire-volumes").ok()
    until("it is gone", lambda: not home.exists())


@pytest.mark.slow
def test_an_up_that_takes_too_long_says_what_it_was_waiting_for(running_process: Project) -> None:
    project = running_process
    record = json.loads((project.home / "run/database.json").read_text())
    os.kill(record["child"]["pid"], signal.SIGSTOP)
    try:
        late = project.up("--wait-timeout", "2s")
    finally:
        os.kill(record["child"]["pid"], signal.SIGCONT)
    assert late.code == 6, late
    (problem,) = [it for it in late.problems() if it["code"] == "up-timeout"]
    assert problem["summary"].startswith("cannot bring it up within 2 s")
    project.up().ok()
