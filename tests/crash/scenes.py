"""The commands that are killed: each with how its state comes about, and what must be true after.

`hello` has a page, `notes` a second one, so that one extension can go while the other stays.
"""

from __future__ import annotations

from tests.crash.driver import Scene, data_only, nothing_extra, nothing_left
from tests.scenario.project import Project


def fresh(project: Project) -> None:
    """Nothing has been done yet."""
    project.spec["keep_versions"] = 0
    project.extension("hello")
    project.extension("notes", html="<h1>notes</h1>")


def up(project: Project) -> None:
    """All of it answers."""
    fresh(project)
    project.up().ok()
    project.identity = project.id


def edited(project: Project) -> None:
    """Up, and one extension has another page and version since."""
    up(project)
    project.extension("hello", html="<h1>newer</h1>", version="0.2.0")


def dropped(project: Project) -> None:
    """Up, and one extension is no longer in the spec."""
    up(project)
    del project.spec["extensions"]["notes"]
    project.write()


def _gone(project: Project) -> None:
    nothing_left(project, project.identity)


SCENES = (
    Scene("cold up", fresh, ("up",), nothing_extra),
    Scene("upgrade", edited, ("up",), nothing_extra),
    Scene("removal", dropped, ("up",), nothing_extra),
    Scene("down", up, ("down",), data_only),
    Scene("down --volumes", up, ("down", "--volumes", "--yes"), _gone),
)
