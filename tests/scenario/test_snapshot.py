"""Snapshots from the command line: on one runtime, and from each to the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.project import Project, get, page


def snapshot(project: Project, *arguments: str) -> dict[str, Any]:
    done = project.text("snapshot", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (stored,) = json.loads(done.stdout)["snapshots"]
    found: dict[str, Any] = stored
    return found


def fill(project: Project) -> None:
    project.sql("CREATE TABLE IF NOT EXISTS notes (text text)")
    project.sql("DELETE FROM notes")
    project.sql("INSERT INTO notes VALUES ('kept')")
    project.s3().put_object(Bucket="extensions", Key="demo/a.txt", Body=b"kept")


def change(project: Project) -> None:
    project.sql("UPDATE notes SET text = 'changed'")
    project.sql("DELETE FROM tenant_extension_install")
    for key in project.objects():
        project.s3().delete_object(Bucket="extensions", Key=key)
    project.s3().put_object(Bucket="extensions", Key="demo/b.txt", Body=b"new")


def assert_restored(project: Project) -> None:
    """The page answers before and after an `up`, which has nothing to do."""
    assert project.sql("SELECT text FROM notes") == [("kept",)]
    assert [it for it in project.objects() if it.startswith("demo/")] == ["demo/a.txt"]
    (hello,) = project.status()["extensions"]
    assert hello["ready"] is True
    assert get(hello["page_url"]) == page("<h1>hello</h1>")
    assert project.up().ok().steps() == {}


def test_a_state_is_saved_and_brought_back(running_process: Project) -> None:
    project = running_process
    fill(project)
    stored = snapshot(project, "save", "before", "--replace")
    assert (stored["name"], stored["runtime"]) == ("before", "process")
    change(project)
    snapshot(project, "restore", "before", "--yes")
    assert_restored(project)
    project.sql("DROP TABLE notes")
    project.s3().delete_object(Bucket="extensions", Key="demo/a.txt")


@pytest.mark.slow
@pytest.mark.docker
def test_a_snapshot_goes_to_the_other_runtime_and_back(
    engine: None, make_project: Callable[..., Project]
) -> None:
    project = make_project("process")
    project.extension()
    project.up().ok()
    fill(project)
    snapshot(project, "save", "one")
    project.down().ok()
    for runtime in ("docker", "process"):
        project.runtime = runtime
        project.write()
        project.up("--yes").ok()
        if runtime == "docker":
            fill(project)
        change(project)
        snapshot(project, "restore", "one", "--yes")
        assert_restored(project)
        assert snapshot(project, "save", "one", "--replace")["runtime"] == runtime
        project.down().ok()
    assert snapshot(project, "list")["name"] == "one"
    project.down("--volumes", "--yes").ok()
    assert project.home.is_dir(), "snapshots outlive the data"
    assert snapshot(project, "delete", "one")["runtime"] == "process"
