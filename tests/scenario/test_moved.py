"""A checkout that is moved keeps its data; what a copy brings along is told and removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scenario.project import Project, page


@pytest.mark.slow
def test_a_moved_checkout_goes_on_with_its_data(project: Project) -> None:
    """It is moved twice: stopped, and while it runs."""
    project.up().ok()
    project.keep_a_row()
    identity = project.id
    project.down().ok()
    for place in ("moved-stopped", "moved-running"):
        moved = project.root.with_name(place)
        project.root.rename(moved)
        project.root = moved
        run = project.up().ok()
        assert "checkout-moved" in str(run.events)
        assert project.kept()
        assert project.page() == page("<h1>hello</h1>")
        assert project.id == identity
        again = project.up().ok()
        assert again.changed == 0
        assert "checkout-moved" not in str(again.events)
    project.down("--volumes", "--yes").ok()
    assert not (project.root / ".algaenv").exists()


@pytest.mark.slow
def test_what_a_copy_brings_along_is_told_and_goes_with_its_volumes(
    running_process: Project, tmp_path: Path
) -> None:
    project = running_process
    copy = replace(project, root=tmp_path / "copy")
    shutil.copytree(project.root, copy.root)
    details = copy.text("status")
    assert "state-left" in details.stderr
    assert str(project.file) in details.stderr
    run = copy.down("--volumes", "--yes").ok()
    assert list(run.steps()) == [f"delete state/{project.id}"]
    assert not (copy.root / ".algaenv").exists()
    assert project.up().ok().changed == 0, "the original is none of its business"


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_a_new_checkout_at_the_old_path_leaves_the_moved_one_alone(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("docker")
    project.extension()
    project.up().ok()
    moved = replace(project, root=project.root.with_name("moved"))
    project.root.rename(moved.root)
    moved.up().ok()
    shutil.copytree(moved.root, project.root, ignore=shutil.ignore_patterns(".algaenv"))
    # Written out, so that every port is free for it beside those of the moved one.
    clone = replace(project, spec={"extensions": project.spec["extensions"]})
    document = json.loads(project.file.read_text())
    for service in ("store", "redis", "database", "runner", "gateway"):
        document[service] = {k: v for k, v in document[service].items() if "port" not in k}
    clone.file.write_text(json.dumps({**document, "ports": "auto"}))
    clone.up().ok()
    assert clone.id != moved.id
    clone.down("--volumes", "--yes").ok()
    assert moved.up().ok().changed == 0
    assert moved.page() == page("<h1>hello</h1>")
    moved.clean()
