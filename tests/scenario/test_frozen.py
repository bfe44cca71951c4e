"""A server that is stopped, not ended: every command says so and ends by itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.scenario.project import Project


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not run, and whose kernel still accepts connections for it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def server_of(project: Project, service: str) -> int:
    record = json.loads((project.home / "run" / f"{service}.json").read_text())
    return int(record["child"]["pid"])


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_frozen_database_ends_every_command(running_process: Project) -> None:
    project = running_process
    project.spec |= {"ready_timeout": "6s"}
    project.write()
    project.up().ok()
    with stopped(server_of(project, "database")):
        (row,) = [it for it in project.status()["services"] if it["name"] == "database"]
        assert row["state"] == "running", row
        assert "timeout" in row["detail"], row
        run = project.up()
        called = project.text("call", "hello", "/x")
    assert run.code == 6
    assert run.changed == 0
    (problem,) = run.problems()
    assert problem["code"] == "not-ready"
    assert "process/database is not ready: PostgreSQL" in problem["summary"]
    assert called.returncode == 7
    assert "error[database-unreachable]: cannot reach the database server" in called.stderr
    assert "  hint: run `algaenv up`" in called.stderr
    assert project.up().ok().changed == 0
