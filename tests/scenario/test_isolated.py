"""Two environments of one checkout, and two checkouts of one repository."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page

NAME = "feature"


class Isolated(Project):
    """The isolated environment `feature` of a project."""

    def start(self, *arguments: str) -> Any:
        return super().start(*arguments, f"--isolated={NAME}")


def isolated(project: Project) -> Isolated:
    return Isolated(project.root, project.runtime, project.ports, project.name, project.spec)


@docker_slow("running")
def test_two_environments_of_one_spec_know_nothing_of_each_other(running: Project) -> None:
    second = isolated(running)
    try:
        second.up().ok()
        assert second.status()["environment"]["name"] == "demo-feature"
        theirs, ours = second.secrets(), running.secrets()
        for name in ("DB_PORT", "STORAGE_S3_ENDPOINT", "STORAGE_S3_SECRET_KEY"):
            assert theirs[name] != ours[name]
        running.keep_a_row()
        second.sql("CREATE TABLE theirs (value text)")
        (running.root / "hello/ui/index.html").write_text(page("<h1>changed</h1>"))
        second.up().ok()
        assert second.page() == page("<h1>changed</h1>")
        assert running.page() == page("<h1>hello</h1>")
        assert len(running.objects()) == 1
        second.down("--volumes", "--yes").ok()
        assert running.kept()
        assert running.page() == page("<h1>hello</h1>")
        running.extension()
        assert running.up().ok().changed == 0
        left = sorted(it.name for it in (running.root / ".algaenv").iterdir())
        assert left == [".gitignore", running.id]
    finally:
        second.down("--volumes", "--yes")


@pytest.mark.slow
def test_the_first_goes_with_its_data_and_leaves_a_worktree_and_the_isolated_one(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("process")
    project.extension()
    git = ["git", "-C", str(project.root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    tree = replace(project, root=project.root.with_name("tree"))
    subprocess.run([*git, "worktree", "add", "-q", str(tree.root)], check=True)
    (tree.root / "algaenv.local.yaml").write_text(
        "ports: auto\n"
        + "".join(
            f"{service}: {{port: auto}}\n" for service in ("redis", "database", "runner", "gateway")
        )
        + "store: {port: auto, console_port: auto}\n"
    )
    second = isolated(project)
    try:
        for one in (project, tree, second):
            one.up().ok()
        project.down("--volumes", "--yes").ok()
        for one in (tree, second):
            assert one.page() == page("<h1>hello</h1>")
            assert one.up().ok().changed == 0
    finally:
        tree.down("--volumes", "--yes")
        second.down("--volumes", "--yes")
    assert not (project.root / ".algaenv").exists()
