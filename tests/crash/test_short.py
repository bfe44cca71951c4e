"""A sample of the boundaries, one kill after the other in the same environment.

A first `up` has an environment of its own; the other commands are killed in the one that all
scenarios share, from which each scene makes what it begins with. Every boundary, each in an
environment of its own, is in `long.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.crash.driver import PLANNED, Boundary, Scene, kill_at, kill_at_each, nothing_extra
from tests.crash.scenes import SCENES, fresh
from tests.scenario.project import Project

CONTENT = re.compile(r"(create|update|delete) (release|bundle)/")
"""Steps that are never left out: what users lose if they go wrong."""
EVERY = 8
"""Of the other boundaries each eighth is in the sample."""
LAST = {
    "cold up": ("step_ended", "await extension/notes"),
    "down": ("step_ended", "delete process/database"),
    "down --volumes": ("step_ended", "delete folder/database"),
}
"""Where a command does not end with one of `CONTENT`."""


QUICK_IN_PROCESSES, QUICK_IN_CONTAINERS = "down --volumes", "removal"
"""Of each runtime one scene is in `make test`; `make test-slow` has the others."""


def scenes(quick: str) -> pytest.MarkDecorator:
    """Every scene, all but one of them slow."""
    marked = [
        pytest.param(it, id=it.name, marks=() if it.name == quick else pytest.mark.slow)
        for it in SCENES
    ]
    return pytest.mark.parametrize("scene", marked)


def sample(scene: Scene) -> Callable[[Boundary], bool]:
    """The plan, the first step, the last, those of `CONTENT`, and some between them."""
    seen: list[Boundary] = []

    def wanted(at: Boundary) -> bool:
        if at not in seen:
            seen.append(at)
        place = seen.index(at)
        chosen = place == 1 or place % EVERY == 0 or at == LAST.get(scene.name)
        return chosen or CONTENT.match(at[1]) is not None

    return wanted


def place(request: pytest.FixtureRequest, runtime: str, scene: Scene) -> Project:
    """Where a scene takes place."""
    if scene is SCENES[0]:
        made: Project = request.getfixturevalue("make_project")(runtime)
        return made
    shared: Project = request.getfixturevalue(f"running_{runtime}")
    return shared


@scenes(QUICK_IN_PROCESSES)
def test_killed_at_boundaries(request: pytest.FixtureRequest, scene: Scene) -> None:
    project = place(request, "process", scene)
    scene.before(project)
    figures = kill_at_each(project, scene, sample(scene))
    print(f"{scene.name}: {figures}")  # noqa: T201 - shown with -s
    assert PLANNED in figures.kills
    assert len(figures.kills) >= 3


def around(*steps: str) -> set[Boundary]:
    """The begin and the end of steps."""
    return {(event, step) for step in steps for event in ("step_started", "step_ended")}


IN_CONTAINERS = {
    "cold up": {
        PLANNED,
        ("step_started", "create network/main"),
        ("step_started", "create schema/extensions"),
    }
    | around("create container/database", "create bundle/hello", "create release/notes"),
    "upgrade": around("update release/hello", "delete bundle/hello"),
    "removal": around("delete release/notes"),
    "down": around("delete container/runner", "delete network/main"),
    "down --volumes": around("delete container/store", "delete volume/database"),
}


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
@scenes(QUICK_IN_CONTAINERS)
def test_killed_in_containers(request: pytest.FixtureRequest, scene: Scene) -> None:
    project = place(request, "docker", scene)
    scene.before(project)
    boundaries = IN_CONTAINERS[scene.name]
    figures = kill_at_each(project, scene, boundaries.__contains__)
    assert {step for _, step in figures.kills} == {step for _, step in boundaries}


@pytest.mark.slow
def test_an_extension_killed_while_new_and_then_dropped(running_process: Project) -> None:
    project = running_process
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
