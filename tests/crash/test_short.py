"""Every boundary once, one kill after the other in the same environment; a sample on Docker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.driver import Boundary, Scene, kill_at, kill_at_each, nothing_extra
from tests.crash.scenes import SCENES, fresh
from tests.scenario.project import Project


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_killed_at_every_boundary(make_project: Callable[..., Project], scene: Scene) -> None:
    project = make_project("process")
    scene.before(project)
    figures = kill_at_each(project, scene, lambda _: True)
    print(f"{scene.name}: {figures}")  # noqa: T201 - shown with -s
    assert len(figures.kills) >= 2


IN_CONTAINERS = {
    "cold up": ("create container/database", "create bundle/hello", "create release/notes"),
    "upgrade": ("update release/hello", "delete bundle/hello"),
    "removal": ("delete release/notes",),
    "down": ("delete container/runner", "delete network/main"),
    "down --volumes": ("delete container/store", "delete volume/database"),
}


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_killed_in_containers(make_project: Callable[..., Project], scene: Scene) -> None:
    project = make_project("docker")
    scene.before(project)
    steps = IN_CONTAINERS[scene.name]

    def wanted(at: Boundary) -> bool:
        return at[1] in steps

    figures = kill_at_each(project, scene, wanted)
    assert {step for _, step in figures.kills} == set(steps)


def test_an_extension_killed_while_new_and_then_dropped(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("process")
    fresh(project)
    notes = project.spec["extensions"].pop("notes")
    project.write()
    project.up().ok()
    for step in ("create bundle/notes", "create release/notes"):
        for event in ("step_started", "step_ended"):
            project.spec["extensions"]["notes"] = notes
            project.write()
            assert kill_at(project, ("up",), (event, step).__eq__)
            del project.spec["extensions"]["notes"]
            project.write()
            project.up().ok()
            nothing_extra(project)
