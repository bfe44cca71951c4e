"""Finds out how a source is built; the first tool chain whose project file is there wins."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from algaenv.drivers.build.detection.native import go, python, rust
from algaenv.drivers.build.detection.node import node, script_handler
from algaenv.drivers.build.detection.project import Detected, Project
from algaenv.model.intent import BuildIntent, ExtensionIntent
from algaenv.model.problem import Problem, ResolveError

LOOKED_FOR: Final = (
    "a package.json with a script build, build:component or build:ui",
    "a Cargo.toml with a package",
    "app.py with wit/ or componentize-py among the requirements",
    "go.mod with a package main",
    "src/handler.ts or src/index.ts (or .js) of a handler",
)
"""What a source is searched for, in this order."""
_FINDERS: Final[tuple[tuple[str, Callable[[Project], Detected | None]], ...]] = (
    ("package.json", node),
    ("Cargo.toml", rust),
    ("app.py", python),
    ("main.py", python),
    ("go.mod", go),
    ("", script_handler),
)
_HANDLER_DIRECTORY: Final = "component"
"""Where some of Alga's samples keep the project of their handler."""


def detect_build(intent: ExtensionIntent, build: BuildIntent) -> Detected:
    """The steps of an extension whose spec leaves them open.

    Raises ResolveError (`build-undetected`) with what was looked for.
    """
    workspace = os.path.realpath(build.workspace)
    source = os.path.relpath(os.path.realpath(intent.source), workspace)
    found = detect(Path(workspace), source, build)
    if found is None:
        raise ResolveError(
            Problem(
                "build-undetected",
                f"cannot build {intent.name}: nothing in its source tells how",
                "write its command instead of `build: auto`",
                intent.where,
                tuple(f"looked for {it}" for it in LOOKED_FOR),
            )
        )
    return found


def build_hint(intent: ExtensionIntent) -> str:
    """What an author may add to the spec of an extension without a build; empty for nothing."""
    source = os.path.realpath(intent.source)
    found = detect(Path(source), ".", BuildIntent((), source, {}, 0.0))
    if found is None:
        return ""
    return f"add `build: auto` to {intent.name} in the spec: it finds {', '.join(found.tools)}"


def detect(workspace: Path, source: str, build: BuildIntent) -> Detected | None:
    """The steps that build `source`, a directory relative to `workspace`; None for none.

    Reads project files only, and runs nothing.
    """
    return next(_candidates(workspace, source, build), None)


def _candidates(workspace: Path, source: str, build: BuildIntent) -> Iterator[Detected]:
    for below in (source, posixpath.normpath(posixpath.join(source, _HANDLER_DIRECTORY))):
        project = Project(workspace, below, source, build)
        for marker, find in _FINDERS:
            if (not marker or project.has(marker)) and (found := find(project)) is not None:
                yield found
