"""What an author can do about a page that refers to a file which is not in the bundle."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from algaenv.bundle.names import folded

_PACKAGE = "package.json"
_FROM_SOURCE = (".ts", ".tsx", ".jsx", ".mts", ".scss", ".sass", ".less", ".vue", ".svelte")
_BUILDING = ("build", "bundle", "compile", "prepare", "dist")


def remedy(source: Path, path: str, packed: Collection[str]) -> str:
    """A hint for a reference to `path` of the archive; `packed` is what is there."""
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden names are left out of a bundle: rename it, without a dot in front"
    like = next((it for it in sorted(packed) if folded(it) == folded(path)), None)
    if like is not None:
        return f"it is spelled {like}"
    if not path.startswith("ui/"):
        return "move it into ui/, which is all that is served"
    script = _script(_scripts(source), path)
    if script is not None:
        return (
            f"`npm run {script}` in {_PACKAGE} would build it: run it, or set"
            f" `build: npm run {script}` in the spec"
        )
    return "add the file, build it, or correct the reference"


def _scripts(source: Path) -> Mapping[str, str]:
    try:
        found = json.loads((source / _PACKAGE).read_text("utf-8"))["scripts"]
        return {name: str(command) for name, command in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _script(scripts: Mapping[str, str], path: str) -> str | None:
    """The script that speaks of the file, else the one whose name says that it builds the page."""
    name = path.rpartition("/")[2]
    stem = name.partition(".")[0]
    sources = tuple(f"{stem}{ending}" for ending in _FROM_SOURCE)
    for wanted in ((path.removeprefix("ui/"), name), sources):
        for script, command in scripts.items():
            if any(it in command for it in wanted):
                return script
    named = [it for prefix in _BUILDING for it in scripts if it.startswith(prefix)]
    pages = [it for it in named if "ui" in it.replace("-", ":").split(":")]
    return next(iter([it for it in named if it == "build"] or pages or named), None)
