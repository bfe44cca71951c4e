"""Finds out what a directory holds that a spec can be made of. Reads files, and runs nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from algaenv.bundle.diagnostics import Diagnostic
from algaenv.bundle.value import dataclass, field

IGNORED: Final = (".algaenv/", "*.local.yaml")
"""What belongs to this machine: state with secrets, and the overlay of one author."""
RUNNER_FILES: Final = (".env.runner", ".env.runner.example")
"""Where Alga's compose file for its runner has variables from, and the pattern of that file."""
_LONGEST_NAME: Final = 41
_ANY_NAME: Final = "extensions"
_DEEPEST: Final = 6
_MOST_DIRECTORIES: Final = 50_000
_NEVER_ENTERED: Final = frozenset(
    {"node_modules", "dist", "build", "out", "target", "vendor", "coverage", "__pycache__"}
)
_MANIFEST: Final = "manifest.json"
_RUNNER_SOURCES: Final = "ee/runner"
_DEPENDENCIES: Final = ("dependencies", "devDependencies", "optionalDependencies")
_LINKS: Final = ("file:", "link:")


@dataclass(frozen=True, slots=True)
class FoundExtension:
    """A directory with a manifest of Alga's.

    `source` is relative to the directory that was searched. `problem` says why it cannot be in the
    spec as it is; empty when it can. `build` is what the spec says, None for nothing.
    """

    name: str
    source: str
    about: str
    build: str | None = None
    tools: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """What Alga's own files say of its runner; `file` names the one that was read."""

    file: str
    runner_port: int | None = None
    store_port: int | None = None
    bucket: str | None = None
    app_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of secrets, which the spec does not take over."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a directory holds."""

    extensions: tuple[FoundExtension, ...]
    runner: RunnerSettings | None
    compose: str | None
    """The compose file of Alga's runner."""
    runner_sources: str | None
    """The build context of Alga's own runner."""


def discover(directory: Path) -> Discovery:
    """Search a directory and what lies below it, hidden and generated directories left out."""
    found: list[FoundExtension] = []
    taken: dict[tuple[str, str], str] = {}
    for path in _manifests(directory):
        found.append(_extension(directory, path, found, taken))
    dockerfile = directory / _RUNNER_SOURCES / "Dockerfile"
    sources = _RUNNER_SOURCES if dockerfile.is_file() else None
    return Discovery(tuple(found), _runner_settings(directory), _compose(directory), sources)


def environment_name(directory: Path) -> str:
    """A name that the spec takes, after that of the directory."""
    words = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")
    return words[:_LONGEST_NAME].strip("-") or _ANY_NAME


def ignored_lines(directory: Path) -> str | None:
    """What `.gitignore` there has to hold, with the lines it has; None when it needs none."""
    path = directory / ".gitignore"
    try:
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        before = ""
    listed = {line.strip().strip("/") for line in before.splitlines()}
    missing = [line for line in IGNORED if line.strip("/") not in listed]
    if not missing:
        return None
    ended = before if not before or before.endswith("\n") else f"{before}\n"
    return ended + "".join(f"{line}\n" for line in missing)


def _manifests(directory: Path) -> Iterator[Path]:
    """Directories of extensions, nearest first, in the order of their names; none inside another.

    Links are not followed, and the search ends after so many directories.
    """
    level = [directory]
    seen = 0
    for _ in range(_DEEPEST):
        below: list[Path] = []
        for path in level:
            seen += 1
            if seen > _MOST_DIRECTORIES:
                return
            if _is_manifest(path / _MANIFEST):
                yield path
                continue
            below += _directories(path)
        level = below


def _directories(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [it.name for it in entries if it.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [path / it for it in sorted(names) if it[0] != "." and it not in _NEVER_ENTERED]


def _is_manifest(path: Path) -> bool:
    """Whether it is a manifest of Alga's: those of browsers and web apps have no `runtime`."""
    found = _json(path)
    return isinstance(found.get("name"), str) and isinstance(found.get("runtime"), str)


def _json(path: Path) -> dict[str, Any]:
    from algaenv.spec.diagnostics import read_regular

    try:
        found = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _extension(
    directory: Path,
    path: Path,
    found: Sequence[FoundExtension],
    taken: dict[tuple[str, str], str],
) -> FoundExtension:
    from algaenv.bundle.manifest.model import ManifestError, parse

    relative = os.path.relpath(path, directory)
    source = "." if relative == "." else f"./{relative}"
    raw = _json(path / _MANIFEST)
    about = f"{raw['name']} {raw.get('version', '')}".strip()
    name = _unique(_key(str(raw["name"])), {it.name for it in found})
    try:
        manifest = parse((path / _MANIFEST).read_text(encoding="utf-8")).manifest
    except ManifestError as error:
        return FoundExtension(name, source, about, problem=_first_error(error.diagnostics))
    except (OSError, UnicodeDecodeError) as error:
        return FoundExtension(name, source, about, problem=f"cannot read the manifest: {error}")
    other = taken.setdefault((manifest.publisher, manifest.name), source)
    if other != source:
        problem = f"cannot install it beside {other}: both are {manifest.name}"
        return FoundExtension(name, source, about, problem=problem)
    return _built(directory, path, FoundExtension(name, source, about))


def _built(directory: Path, path: Path, found: FoundExtension) -> FoundExtension:
    """The extension with its build, or with what keeps it from being built."""
    from algaenv.bundle.value import replace
    from algaenv.drivers.build.detection.detect import detect
    from algaenv.model.intent import BuildIntent

    real = Path(os.path.realpath(path))
    detected = detect(real, ".", BuildIntent((), str(real), {}, 0.0))
    if detected is None:
        return _packed_as_it_is(path, found)
    workspace = real
    for link in _links(real):
        target = Path(os.path.normpath(real / link))
        if not target.is_dir():
            missing = f"cannot build it: its package.json links {link}, which is not there"
            return replace(found, problem=missing)
        workspace = Path(os.path.commonpath([workspace, target]))
    root = Path(os.path.realpath(directory))
    if not workspace.is_relative_to(root):
        outside = "cannot build it: its package.json links what lies outside of this directory"
        return replace(found, problem=outside)
    build = "auto"
    if workspace != real:
        relative = os.path.relpath(workspace, root)
        build = f"{{command: auto, workspace: {_quoted(_relative(relative))}}}"
    return replace(found, build=build, tools=", ".join(detected.tools))


def _packed_as_it_is(path: Path, found: FoundExtension) -> FoundExtension:
    from algaenv.bundle.collect import collect
    from algaenv.bundle.source_tree import SourceError
    from algaenv.bundle.value import replace

    try:
        collect(path)
    except SourceError as error:
        return replace(found, problem=_first_error(error.diagnostics))
    return found


def _first_error(diagnostics: Sequence[Diagnostic]) -> str:
    return next(it.summary for it in diagnostics if it.severity == "error")


def _links(path: Path) -> Iterator[str]:
    """The directories that package.json names among its dependencies."""
    package = _json(path / "package.json")
    for kind in _DEPENDENCIES:
        listed = package.get(kind)
        for version in listed.values() if isinstance(listed, dict) else ():
            if isinstance(version, str) and version.startswith(_LINKS):
                yield version.partition(":")[2]


def _relative(path: str) -> str:
    return path if path == "." else f"./{path}"


def _quoted(text: str) -> str:
    from algaenv.scaffold.spec_text import yaml_text

    return yaml_text(text)


def _key(name: str) -> str:
    """The last part of a manifest's name, as a name of the spec."""
    words = re.sub(r"[^a-z0-9._-]+", "-", name.lower().rpartition(".")[2]).strip("-._")
    return words[:_LONGEST_NAME] or "extension"


def _unique(name: str, taken: set[str]) -> str:
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found


def _runner_settings(directory: Path) -> RunnerSettings | None:
    from algaenv.spec.diagnostics import Diagnostics
    from algaenv.spec.variables import read_dotenv

    for file in RUNNER_FILES:
        values = read_dotenv(directory / "algaenv.yaml", Diagnostics({}), file)
        if not values:
            continue
        store = _url(values.get("BUNDLE_STORE_BASE") or values.get("RUNNER_BUNDLE_STORE_BASE"))
        app = _url(values.get("RUNNER_REGISTRY_BASE_URL") or values.get("REGISTRY_BASE_URL"))
        return RunnerSettings(
            file,
            _port(values.get("RUNNER_DOCKER_PORT")),
            store[0] if store else None,
            store[1].strip("/").partition("/")[0] or None if store else None,
            f"http://localhost:{app[0]}" if app else None,
            {name: values[name] for name in values if _is_setting(name)},
            tuple(sorted(name for name in values if _is_secret(name))),
        )
    return None


def _is_setting(name: str) -> bool:
    """Whether the runner reads a variable that the spec may set."""
    from algaenv.spec.resolve.checks import RESERVED_VARIABLES

    wanted = name.startswith(("EXT_", "WASM_POOL_")) or name == "RUST_LOG"
    return wanted and name not in RESERVED_VARIABLES and not _is_secret(name)


def _is_secret(name: str) -> bool:
    return name.endswith(("TOKEN", "KEY", "SECRET", "PASSWORD"))


def _url(text: str | None) -> tuple[int, str] | None:
    """Port and path of a URL of HTTP."""
    try:
        parts = urlsplit(text or "")
        port = parts.port
    except ValueError:
        return None
    return (port, parts.path) if parts.scheme == "http" and port else None


def _port(text: str | None) -> int | None:
    number = int(text) if text and text.isascii() and text.isdecimal() and len(text) < 6 else 0
    return number if 0 < number < 1 << 16 else None


def _compose(directory: Path) -> str | None:
    """The compose file whose services read the variables of Alga's runner."""
    for path in sorted(directory.glob("*compose*.y*ml")):
        try:
            if RUNNER_FILES[0] in path.read_text(encoding="utf-8"):
                return path.name
        except (OSError, UnicodeDecodeError):
            continue
    return None
