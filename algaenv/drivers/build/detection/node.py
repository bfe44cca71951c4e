"""Projects of Node.js: their packages are installed once per lock file, then their scripts run.

A script such as `npm run bundle && npm run component` is taken apart, and each command of a known
tool becomes a step with its inputs and outputs. So an edit that leaves the bundled script as it was
does not run the componentizer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from algaenv.bundle.source_tree import WASM
from algaenv.bundle.value import replace
from algaenv.drivers.build.detection.known_tools import files_of
from algaenv.drivers.build.detection.members import built_first, unused
from algaenv.drivers.build.detection.project import Detected, Project, bundle_globs, world_of
from algaenv.drivers.build.detection.scripts import ScriptCommand, commands_of
from algaenv.drivers.build.file_tree import DEPENDENCIES
from algaenv.drivers.build.node_packages import ALGA_WIT, tools_digest
from algaenv.model.intent import BuildStep

NODE_PACKAGES: Final = (sys.executable, "-P", "-m", "algaenv.drivers.build.node_packages")
"""The program that installs packages once for every build with the same lock file."""
_LOCKS: Final[Mapping[str, str]] = {
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
}
_INSTALL: Final[Mapping[str, str]] = {
    "npm": "npm ci --no-audit --no-fund --prefer-offline",
    "pnpm": "pnpm install --frozen-lockfile --prefer-offline",
    "yarn": "yarn install --frozen-lockfile --prefer-offline",
}
_BERRY: Final = "__metadata:"
"""A key of the lock files of yarn 2 and later."""
_BERRY_INSTALL: Final = "yarn install --immutable"
_BERRY_VARIABLES: Final = {"YARN_NODE_LINKER": "node-modules"}
"""Tools are found in `node_modules`, and a table of paths leads to the author's own cache."""
_PNP: Final = (".pnp.cjs", ".pnp.loader.mjs")
"""Such tables: yarn removes them where it makes a `node_modules`, so they must not be there."""
_INSTALLED_FROM: Final = (
    *(".npmrc", "package.json", "pnpm-workspace.yaml", ".pnpmfile.cjs", "patches"),
    *(".yarnrc", ".yarnrc.yml", ".yarn/patches", ".yarn/plugins", ".yarn/releases"),
)
"""Files and directories besides the lock file that an installation depends on."""
_ANY_DEPENDENCIES: Final = f"**/{DEPENDENCIES}"
"""Packages of a workspace have such directories of their own."""
_INSTALL_SCRIPTS: Final = frozenset(
    {"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"}
)
_SCRIPTS: Final = (
    "build",
    *("build:component", "build:handler", "build:wasm", "build:ui", "build:iframe"),
)
_NOT_IMPORTED: Final = ("html", "css", "svg", "png", "jpg", "ico", "woff2", "md", "txt")
"""Suffixes of files of a page that no script imports."""
_COMPONENTIZERS: Final = frozenset({"jco", "componentize-js"})
_ENTRIES: Final = tuple(
    f"{directory}/{name}.{suffix}"
    for directory in ("src", "src/component")
    for name in ("index", "handler")
    for suffix in ("ts", "js", "mts", "mjs")
)
_EXPORT: Final = re.compile(
    r"export\s+(?:async\s+)?(?:function|const|let|var)\s+handler\b|export\s*\{[^}]*\bhandler\b"
)
_RUNS_OTHERS: Final = re.compile(
    r"\b(?:turbo|nx|lerna|wireit)\b|\s(?:-w|--workspaces?|-F|--filter|-r|--recursive|-b|--build)\b"
)
"""Commands that build the packages that a project uses."""
_MADE_BY_CLI: Final = "alga"
"""The command of Alga's CLI, whose `build` runs tools that its templates do not bring."""
SCRIPT: Final = "dist/js/handler.js"


def node(project: Project) -> Detected | None:
    """The steps of a project with a package.json; None when nothing in it builds anything."""
    package = project.json("package.json")
    scripts = package.get("scripts")
    commands = list(_commands(scripts if isinstance(scripts, dict) else {}))
    entry = _entry(project)
    own = any(it.program in _COMPONENTIZERS for it in commands)
    built_in = entry is not None and not own and _has_handler(project)
    if built_in:
        commands = [it for it in commands if it.program not in (_MADE_BY_CLI, "tsc")]
    if not commands and not built_in:
        return None
    steps, tools = _install(project, package)
    if not any(_RUNS_OTHERS.search(it.text) for it in commands):
        steps += _packages_first(project, tools[0] if tools else "npm")
    names = _Names(step.name for step in steps)
    for command in commands:
        steps.append(_step(project, command, names.unique(command)))
        tools.append(command.program or command.script)
    if built_in and entry is not None:
        steps += _built_in(project, entry)
        tools += ["esbuild and jco of algaenv"]
    elif (made := project.from_source(WASM)) != WASM and own:
        steps.append(_copy(project, made))
    if others := unused(project):
        steps = [replace(it, ignore=(*it.ignore, *others)) for it in steps]
    programs = project.paths((f"{DEPENDENCIES}/.bin",))
    if project.below != ".":
        programs = (*programs, f"{DEPENDENCIES}/.bin")
    return Detected(tuple(steps), tuple(dict.fromkeys(tools)), programs)


def script_handler(project: Project) -> Detected | None:
    """A handler in JavaScript or TypeScript without any package.json."""
    entry = _entry(project)
    if entry is None or not _has_handler(project):
        return None
    return Detected(tuple(_built_in(project, entry)), ("esbuild and jco of algaenv",))


def _commands(scripts: Mapping[str, Any]) -> Iterator[ScriptCommand]:
    texts = {name: text for name, text in scripts.items() if isinstance(text, str)}
    run: set[str] = set()
    for name in _SCRIPTS:
        if name in texts and name not in run:
            for command in commands_of(texts, name):
                run.add(command.script)
                if command.program == _MADE_BY_CLI and command.script == name:
                    # What comes before and after it relies on its files.
                    yield command
                    break
                yield command


def _install(project: Project, package: dict[str, Any]) -> tuple[list[BuildStep], list[str]]:
    directories = [project.below]
    if project.below != ".":
        directories.append(".")
    for below in directories:
        there = Project(project.workspace, below, project.source, project.build)
        for lock, manager in _LOCKS.items():
            if there.has(lock):
                return [_locked_install(project, there, lock, manager)], [manager]
    needed = any(package.get(it) for it in ("dependencies", "devDependencies"))
    if not needed or (project.directory / DEPENDENCIES).is_dir():
        return [], []
    # Its own packages are linked where they are installed; else they are looked up anew.
    install = project.step(
        "install",
        _within(project, "npm install --no-audit --no-fund --prefer-offline"),
        inputs=project.paths(("package.json",)),
        outputs=project.paths((_ANY_DEPENDENCIES,)),
    )
    return [install], ["npm"]


def _locked_install(project: Project, there: Project, lock: str, manager: str) -> BuildStep:
    directory = project.from_source(".") if there.below == project.below else there.from_source(".")
    made: tuple[str, ...] = (_ANY_DEPENDENCIES,)
    variables: Mapping[str, str] = {}
    command: str | tuple[str, ...]
    if manager == "npm" and _is_self_contained(there, lock):
        command, made = (*NODE_PACKAGES, "install", directory), (DEPENDENCIES,)
    else:
        command = _INSTALL[manager]
        if manager == "yarn" and _BERRY in there.text(lock):
            command, variables = _BERRY_INSTALL, _BERRY_VARIABLES
            made = (*made, *_PNP)
        command = f"cd {directory} && {command}" if directory != "." else command
    inputs = [it for it in (lock, *_INSTALLED_FROM) if (there.directory / it).exists()]
    return project.step(
        "install",
        command,
        inputs=there.paths(inputs),
        outputs=there.paths(made),
        environment=variables,
    )


def _is_self_contained(there: Project, lock: str) -> bool:
    """Whether a lock file of npm names only packages of registries, none of this workspace, and
    installing them runs no script of the project's own."""
    scripts = there.json("package.json").get("scripts")
    packages = there.json(lock).get("packages")
    if not isinstance(packages, dict) or (
        isinstance(scripts, dict) and not _INSTALL_SCRIPTS.isdisjoint(scripts)
    ):
        return False
    return all(
        path == "" or (path.startswith(f"{DEPENDENCIES}/") and not _is_local(about))
        for path, about in packages.items()
    )


def _is_local(about: object) -> bool:
    if not isinstance(about, dict):
        return True
    return bool(about.get("link")) or str(about.get("resolved", "")).startswith("file:")


def _packages_first(project: Project, manager: str) -> Iterator[BuildStep]:
    """The builds of the workspace's packages that the project uses."""
    for package, made in built_first(project):
        yield project.step(
            package.below,
            _within(package, f"{manager} run build"),
            outputs=package.paths(made),
            ignore=unused(package),
        )


def _step(project: Project, command: ScriptCommand, name: str) -> BuildStep:
    files = files_of(project, command)
    inputs = files.inputs if files.of_workspace else project.paths(files.inputs)
    outputs = project.paths(files.outputs)
    if len(inputs) < len(files.inputs) or len(outputs) < len(files.outputs):
        inputs, outputs = (), ()  # It reads or writes outside of the workspace.
    if inputs:
        configured = (it for it in ("package.json", *_LOCKS) if project.has(it))
        inputs = (*inputs, *project.paths(configured))
    ignore: Sequence[str] = ()
    if command.program in _COMPONENTIZERS and not inputs:
        ignore = bundle_globs(project)
    elif command.program == "esbuild" and "--loader" not in command.text:
        ignore = [project.in_source(f"ui/**/*.{it}") for it in _NOT_IMPORTED]
    return project.step(
        name, _within(project, command.text), inputs=inputs, outputs=outputs, ignore=ignore
    )


def _entry(project: Project) -> str | None:
    return next((it for it in _ENTRIES if _EXPORT.search(project.text(it))), None)


def _has_handler(project: Project) -> bool:
    """Whether the manifest asks for a handler, or the project has WIT."""
    source = Project(project.workspace, project.source, project.source, project.build)
    manifest = source.json("manifest.json")
    api = manifest.get("api")
    declared = isinstance(api, dict) and bool(api.get("endpoints"))
    runtime = str(manifest.get("runtime", "")).lower().startswith("wasm")
    return declared or runtime or (project.directory / "wit").is_dir()


def _built_in(project: Project, entry: str) -> Iterator[BuildStep]:
    script = project.in_source(SCRIPT)
    versions = {"ALGAENV_NODE_TOOLS": tools_digest()}
    shape = ("--bundle", "--format=esm", "--platform=neutral", "--main-fields=module,main")
    bundle = (project.from_source(entry), *shape, "--external:alga:*", f"--outfile={SCRIPT}")
    yield project.step(
        "esbuild",
        (*NODE_PACKAGES, "run", "esbuild", *bundle, "--log-level=warning"),
        outputs=(script,),
        ignore=bundle_globs(project),
        environment=versions,
    )
    has_wit = (project.directory / "wit").is_dir()
    wit = project.from_source("wit") if has_wit else ALGA_WIT
    options = ("--wit", wit, "--world-name", world_of(project), "--disable", "all")
    yield project.step(
        "jco",
        (*NODE_PACKAGES, "run", "jco", "componentize", SCRIPT, *options, "-o", WASM),
        inputs=(script, *(project.paths(("wit",)) if has_wit else ())),
        outputs=(project.in_source(WASM),),
        environment=versions,
    )


def _copy(project: Project, made: str) -> BuildStep:
    path = project.path(WASM)
    command = f"mkdir -p dist && cp {made} {WASM}"
    return project.step(
        "copy", command, inputs=(path,) if path else (), outputs=(project.in_source(WASM),)
    )


def _within(project: Project, text: str) -> str:
    directory = project.from_source(".")
    return text if directory == "." else f"cd {directory} && {text}"


class _Names:
    """Names of steps, each given once."""

    def __init__(self, taken: Iterator[str]) -> None:
        self._taken = set(taken)

    def unique(self, command: ScriptCommand) -> str:
        """The script's name, or with its program where the script has several commands."""
        for name in (command.script, f"{command.script}-{command.program or 'more'}"):
            if name not in self._taken:
                break
        number = 2
        base = name
        while name in self._taken:
            name, number = f"{base}-{number}", number + 1
        self._taken.add(name)
        return name
