"""A source as detection sees it: its files, and steps whose paths are those of the workspace."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from algaenv.bundle.value import dataclass
from algaenv.model.intent import BuildIntent, BuildStep

_WORLD = re.compile(r"^\s*world\s+([a-z][\w-]*)\s*\{", re.MULTILINE)
WORLD = "runner"
"""The world of Alga's extension runner."""


@dataclass(frozen=True, slots=True)
class Detected:
    """The steps that were found, and the names of the tools, for people."""

    steps: tuple[BuildStep, ...]
    tools: tuple[str, ...]
    programs: tuple[str, ...] = ()
    """Directories, relative to the workspace, whose programs the steps find by their names."""


@dataclass(frozen=True, slots=True)
class Project:
    """A directory of the workspace with a project file of one tool chain."""

    workspace: Path
    below: str
    """The directory, relative to the workspace; `.` for the workspace itself."""
    source: str
    """The source of the extension, relative to the workspace: where commands run."""
    build: BuildIntent

    @property
    def directory(self) -> Path:
        """Its real path."""
        return self.workspace / self.below

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.directory / name).is_file()

    def text(self, name: str) -> str:
        """A file's text; empty when it cannot be read."""
        try:
            return (self.directory / name).read_text("utf-8")
        except (OSError, ValueError):
            return ""

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of a file; empty when it is none."""
        try:
            loaded = json.loads(self.text(name))
        except (ValueError, RecursionError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def path(self, name: str) -> str | None:
        """A path of the project, relative to the workspace; None for one that leaves it."""
        joined = posixpath.normpath(posixpath.join(self.below, name))
        return None if joined.startswith(("/", "../")) or joined == ".." else joined

    def paths(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that do not leave the workspace."""
        return tuple(it for it in map(self.path, names) if it is not None)

    def in_source(self, name: str) -> str:
        """A path of the extension, relative to the workspace."""
        return posixpath.normpath(posixpath.join(self.source, name))

    def from_source(self, name: str) -> str:
        """A path of the project as a command that runs in the source names it."""
        return os.path.relpath(posixpath.join(self.below, name), self.source)

    def step(
        self,
        name: str,
        command: str | tuple[str, ...],
        *,
        inputs: Iterable[str] = (),
        outputs: Iterable[str] = (),
        ignore: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> BuildStep:
        """A step with the variables and the time of the build; globs are of the workspace."""
        shell = isinstance(command, str)
        return BuildStep(
            name,
            (command,) if isinstance(command, str) else command,
            shell,
            {**(environment or {}), **self.build.environment},
            self.build.timeout,
            tuple(inputs),
            tuple(outputs),
            tuple(ignore),
        )


def world_of(project: Project) -> str:
    """The world that a project's WIT defines; Alga's where it defines several or none."""
    worlds = [
        world
        for file in sorted((project.directory / "wit").glob("*.wit"))
        for world in _WORLD.findall(project.text(f"wit/{file.name}"))
    ]
    return worlds[0] if len(worlds) == 1 else WORLD


def bundle_globs(project: Project) -> list[str]:
    """Parts of an extension that no compiler of a handler reads."""
    return [project.in_source(name) for name in ("ui", "manifest.json", "dist")]
