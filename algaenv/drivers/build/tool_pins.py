"""The versions of the tools that builds use, for lock files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from algaenv.drivers.build import node_packages
from algaenv.drivers.build.toolchain import ToolVersions
from algaenv.drivers.build.workspace import BuildJob, make_job
from algaenv.model.intent import ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import ResolveError

_OWN_TOOLS: Final = "ALGAENV_NODE_TOOLS"
"""The variable of steps that run tools of this package."""
_OWN: Final[Mapping[str, str]] = {"esbuild": "esbuild", "jco": "@bytecodealliance/jco"}
"""Tool → its package in `node_tools/package-lock.json`."""


def tool_pins(
    environment: Environment, extensions: Iterable[ExtensionIntent], environ: Mapping[str, str]
) -> Mapping[str, Mapping[str, str]]:
    """Extension → program → version, for each extension that is built.

    One whose build cannot be found out has none: its bundle says so. Writes nothing but the cache
    of builds.
    """
    found: dict[str, Mapping[str, str]] = {}
    for intent in extensions:
        if intent.build is None:
            continue
        try:
            job = make_job(intent, intent.build, environment, environ)
        except ResolveError:
            continue
        if tools := _tools(job, environ):
            found[intent.name] = tools
    return found


def _tools(job: BuildJob, environ: Mapping[str, str]) -> Mapping[str, str]:
    job.build_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    versions = ToolVersions(job)
    found: dict[str, str] = {}
    for step in job.steps:
        found |= {name: version for name, version in versions.of(step).items() if version}
        if _OWN_TOOLS in step.environment:
            found |= _shipped()
    if "node" in found and (npm := node_packages.npm_version(environ)):
        found["npm"] = npm
    return found


def _shipped() -> Mapping[str, str]:
    """The tools that this package brings, by its lock file."""
    locked = json.loads((node_packages.TOOLS / "package-lock.json").read_bytes())["packages"]
    return {
        tool: str(locked[f"node_modules/{package}"]["version"]) for tool, package in _OWN.items()
    }
