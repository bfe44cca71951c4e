"""The packages of a workspace of npm, pnpm or yarn, and those that a project does not use.

A build in a workspace may read any of its files. What it is known not to read are packages that it
names nowhere: an edit there runs none of its steps.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from algaenv.drivers.build.detection.known_tools import holds_sources
from algaenv.drivers.build.detection.project import Project
from algaenv.drivers.build.file_tree import DEPENDENCIES, EXCLUDED_NAMES
from algaenv.drivers.build.patterns import Glob

_KINDS: Final = (
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
)
_CONFIGURATION: Final = re.compile(r"tsconfig[^/]*\.json|[^/]+\.config\.[cm]?[jt]s")
"""Files of a package that may name others by their names or paths."""
_ENTRIES: Final = ("main", "module", "browser", "exports")
_BUILT: Final = re.compile(r'"(?:\./)?(dist|build|out|esm|cjs)/')
"""The directory of an entry that a build makes, as these are named."""
_PNPM: Final = "pnpm-workspace.yaml"
_ABOUT: Final = ("*.md", "LICENSE*", ".github", ".vscode", ".idea", ".husky", ".changeset")
"""What lies in the root of a workspace for people, hosts and editors."""


def unused(project: Project) -> tuple[str, ...]:
    """Globs, relative to the workspace, of what no build of the project reads; none where it is no
    package of a workspace."""
    packages = _packages(project)
    if project.below not in packages.values():
        return ()
    # A package may hold one that is used, and the extension hold its handler.
    whole = (project.source,) if _is_within(project.below, project.source) else ()
    kept = (*_used(project, packages), *whole)
    others = (it for it in packages.values() if not any(_is_within(own, it) for own in kept))
    return (*sorted(others), *_ABOUT)


def built_first(project: Project) -> Iterator[tuple[Project, tuple[str, ...]]]:
    """The packages that a project uses and that are used as their build leaves them, with the
    directories, relative to each, that these builds make. Those that others use come first."""
    packages = _packages(project)
    used = _used(project, packages) if project.below in packages.values() else ()
    for below in used:
        about = _about(project, below)
        scripts = about.get("scripts")
        if below != project.below and isinstance(scripts, dict) and "build" in scripts:
            made = {it for key in _ENTRIES for it in _BUILT.findall(json.dumps(about.get(key)))}
            package = _package(project, below)
            if made and not any(holds_sources(package, it) for it in made):
                yield package, tuple(sorted(made))


def _used(project: Project, packages: Mapping[str, str]) -> tuple[str, ...]:
    """The directories of the project, the last, and of all that it uses, each after its own."""
    found: dict[str, bool] = {}
    """Directory → whether all that it uses is there."""

    def visit(below: str) -> None:
        found[below] = False
        for it in _named(project, below, packages):
            if it not in found:
                visit(it)
        del found[below]
        found[below] = True

    visit(project.below)
    return tuple(found)


def _packages(project: Project) -> dict[str, str]:
    """Name → directory, relative to the workspace."""
    directories: dict[str, None] = {}
    for text in _patterns(project):
        if text.startswith("!"):
            for below in _directories(project, text[1:]):
                directories.pop(below, None)
        else:
            directories |= dict.fromkeys(_directories(project, text))
    directories.pop(".", None)
    return {str(_about(project, it).get("name") or it): it for it in directories}


def _patterns(project: Project) -> list[str]:
    """As the workspace names its packages; those after a `!` are none."""
    root = _package(project, ".")
    declared: Any = root.json("package.json").get("workspaces")
    if isinstance(declared, dict):
        declared = declared.get("packages")
    if root.has(_PNPM):
        import yaml

        with contextlib.suppress(yaml.YAMLError, AttributeError, RecursionError):
            declared = yaml.safe_load(root.text(_PNPM)).get("packages")
    return [it for it in declared if isinstance(it, str)] if isinstance(declared, list) else []


def _directories(project: Project, text: str) -> Iterator[str]:
    """The directories with a package.json that a pattern names."""
    pattern = posixpath.normpath(text)
    if pattern.startswith(("/", "..")):
        return
    fixed, several, _ = pattern.partition("**")
    if several:
        for directory, names, files in os.walk(project.workspace / fixed):
            names[:] = [it for it in names if it != DEPENDENCIES and it not in EXCLUDED_NAMES]
            below = os.path.relpath(directory, project.workspace)
            if "package.json" in files and Glob(pattern).matches(below):
                yield below
        return
    with contextlib.suppress(OSError, ValueError):
        for file in sorted(project.workspace.glob(f"{pattern}/package.json")):
            yield file.parent.relative_to(project.workspace).as_posix()


def _named(project: Project, below: str, packages: Mapping[str, str]) -> Iterator[str]:
    """The packages that one of them names: as a dependency, or in a file of configuration."""
    package = _package(project, below)
    kinds = (package.json("package.json").get(it) for it in _KINDS)
    declared = {name for it in kinds if isinstance(it, dict) for name in it}
    found = filter(_CONFIGURATION.fullmatch, os.listdir(package.directory))  # noqa: PTH208
    text = "\n".join(map(package.text, found))
    for name, directory in packages.items():
        path = re.escape(posixpath.relpath(directory, below))
        mentioned = rf"[\"'`]{re.escape(name)}[\"'`/]|(?<![\w.]){path}(?![\w-])"
        if name in declared or re.search(mentioned, text):
            yield directory


def _about(project: Project, below: str) -> dict[str, Any]:
    return _package(project, below).json("package.json")


def _package(project: Project, below: str) -> Project:
    return Project(project.workspace, below, project.source, project.build)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
