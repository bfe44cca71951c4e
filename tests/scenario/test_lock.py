"""The lock file with the real program: two machines, and a machine that has something else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.project import Project


def lock(project: Project, *words: str, code: int = 0) -> dict[str, Any]:
    done = project.text("lock", "--json", *words)
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


def on_another_machine(project: Project, root: Path) -> None:
    """Another home, with nothing cached; the checkout is the same."""
    project.environ = {"HOME": str(root / "home"), "XDG_CACHE_HOME": str(root / "home" / "cache")}
    (root / "home").mkdir()


@pytest.mark.parametrize("runtime", ["process"])
def test_the_same_lock_file_is_right_on_two_machines(
    make_project: Callable[..., Project], runtime: str, tmp_path: Path
) -> None:
    project = make_project(runtime)
    project.extension()
    file = project.root / "algaenv.lock"
    assert lock(project)["written"]
    first = file.read_text()
    on_another_machine(project, tmp_path)
    assert lock(project, "--check")["differences"] == []
    file.unlink()
    assert lock(project)["written"]
    assert file.read_text() == first
    project.up("--locked").ok()
    # What was brought up is what is locked, and a later run finds nothing to change.
    run = project.up("--locked").ok()
    assert run.changed == 0


def test_something_else_than_what_is_locked_is_refused(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("process")
    project.extension()
    missing = project.text("up", "--locked")
    assert missing.returncode == 2
    assert "lock-missing" in missing.stderr
    lock(project)
    # Another program of the same name is what an upgrade leaves.
    programs = tmp_path / "bin"
    programs.mkdir()
    other = programs / "minio"
    other.write_text(f'#!/bin/sh\nexec {shutil.which("minio") or "/bin/false"} "$@"\n')
    other.chmod(0o755)
    project.environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    refused = project.text("up", "--locked")
    assert refused.returncode == 2
    assert "process/store: digest: locked sha256:" in refused.stderr
    left = {it.name for it in project.root.glob(".algaenv/*/*")}
    assert left <= {"cache", "logs", ".gitignore", "spec"}
    assert lock(project, "--check", code=2)["differences"][0]["what"] == "process/store"
    # An environment of its own has the lock file of the spec it extends.
    own = project.text("test", "--locked", "--ephemeral", "--", "true")
    assert own.returncode == 2
    assert "process/store: digest: locked sha256:" in own.stderr
    assert list(project.root.glob(".algaenv-test-*")) == []
