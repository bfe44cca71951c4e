"""One checkout used from two PID namespaces, as by a host and a dev container."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.scenario.project import Project, Run

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
_NOT_OF_A_RUN = ("data", "logs", "cache")
"""Written by the services; and what is known of sources, which looking at them may refresh."""


def told_inside(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it where nobody outside can be seen."""
    return subprocess.run(
        [*NAMESPACE, *project.command(*arguments, "--json")],
        capture_output=True,
        text=True,
        env=project.environment(),
        cwd=project.root,
        timeout=180,
        check=False,
    )


def inside(project: Project, *arguments: str) -> Run:
    done = told_inside(project, *arguments)
    events = tuple(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return Run(done.returncode, events, done.stderr)


@pytest.fixture
def namespaces() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs the program `unshare`")
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a PID namespace")


def ours(project: Project) -> Mapping[Path, tuple[int, bytes]]:
    """Every file of the environment that a run may write, and the server's own lock."""
    found = {
        path
        for path in project.home.rglob("*")
        if path.is_file() and path.relative_to(project.home).parts[0] not in _NOT_OF_A_RUN
    }
    found |= set(project.home.rglob("postmaster.pid"))
    return {path: (path.stat().st_ino, path.read_bytes()) for path in found if path.name != "lock"}


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_services_of_another_namespace_are_refused_and_nothing_changes(
    running_process: Project,
) -> None:
    project = running_process
    project.keep_a_row()
    (server,) = project.sql("SELECT pg_backend_pid(), pg_postmaster_start_time()")
    before = ours(project)

    assert told_inside(project, "plan").returncode == 7
    for arguments in (("up",), ("down",), ("down", "--volumes", "--yes")):
        run = inside(project, *arguments)
        assert run.code == 7, arguments
        assert run.codes() == {"shim-busy"}, arguments
        assert run.changed == 0
        assert ours(project) == before, arguments
    # Another spec makes no difference: it is refused before anything is written.
    spec = project.file.read_text()
    project.extension("other")
    assert inside(project, "up").codes() == {"shim-busy"}
    assert ours(project) == before
    project.file.write_text(spec)

    assert project.up().ok().changed == 0
    assert project.kept()
    (after,) = project.sql("SELECT pg_backend_pid(), pg_postmaster_start_time()")
    assert after[1] == server[1], "it is the same server"


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_what_ended_outside_may_be_taken_up_inside(running_process: Project) -> None:
    project = running_process
    project.keep_a_row()
    project.down().ok()
    # The namespace ends with the command, and takes the services with it.
    assert inside(project, "up").code == 0
    project.up().ok()
    assert project.kept()
