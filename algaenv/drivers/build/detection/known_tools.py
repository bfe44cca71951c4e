"""What the commands of well-known tools of Node.js read and write."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.build import file_tree
from algaenv.drivers.build.detection.project import Project
from algaenv.drivers.build.detection.scripts import ScriptCommand, option

_TYPESCRIPT: Final = tuple(
    f"**/*.{it}" for it in ("ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs", "json", "vue")
)
_VITE_CONFIGURATIONS: Final = tuple(f"vite.config.{it}" for it in ("ts", "js", "mts", "mjs"))

_SOURCES: Final = (".ts", ".tsx", ".mts", ".cts", ".jsx", ".vue", ".svelte", ".html", ".scss")


@dataclass(frozen=True, slots=True)
class CommandFiles:
    """Globs relative to the project; empty where nothing is known."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    of_workspace: bool = False
    """The inputs are relative to the workspace."""


def files_of(project: Project, command: ScriptCommand) -> CommandFiles:
    """The inputs and outputs of a command of a known tool, relative to the project."""
    words = command.words
    made: str | None
    match command.program, words[1:2]:
        case "jco", ("componentize",):
            script = next((it for it in words[2:] if it.endswith((".js", ".mjs"))), None)
            made = option(words, "-o", "--out")
            wit = option(words, "-w", "--wit") or "wit"
            if not script or not made:
                return CommandFiles()
            inputs = (script, wit)
            return CommandFiles(inputs, () if _holds(project, made, inputs) else (made,))
        case "jco", ("types" | "guest-types",):
            made = option(words, "-o", "--out-dir")
            read = words[2] if len(words) > 2 and not words[2].startswith("-") else "wit"
            if not made:
                return CommandFiles()
            return CommandFiles((read,), () if _holds(project, made, (read,)) else (made,))
        case "esbuild", _:
            made = option(words, "--outfile", "--outdir")
            entries = [it.rpartition("=")[2] for it in words[1:] if not it.startswith("-")]
            if not made or _holds(project, made, entries) or holds_sources(project, made):
                return CommandFiles()
            return CommandFiles((), (made,))
        case "tsc", _:
            # Sources of other packages of the workspace are read, too.
            return CommandFiles(_TYPESCRIPT, of_workspace=True)
        case "vite", ("build",):
            root, made = _vite_directories(project, words)
            if not made or _holds(project, made, (posixpath.join(root, "index.html"),)):
                return CommandFiles()
            return CommandFiles((), (made,))
    return CommandFiles()


def _holds(project: Project, made: str, read: Iterable[str]) -> bool:
    """Whether what a command makes is, or holds, what it reads or a file of every project."""
    output = project.path(made)
    about = (*map(project.path, (*read, "package.json")), project.in_source("manifest.json"))
    return output == "." or any(it == output or (it or "").startswith(f"{output}/") for it in about)


def holds_sources(project: Project, made: str) -> bool:
    """Whether files lie there that no bundler makes."""
    try:
        found = file_tree.walk(str(project.directory / made))
        return any(it.path.endswith(_SOURCES) for it in found if it.kind == "file")
    except OSError:
        return False


def _vite_directories(project: Project, words: Sequence[str]) -> tuple[str, str | None]:
    """The root of Vite and where it writes; None where its configuration computes it."""
    named = option(words, "-c", "--config")
    file = next((it for it in (named, *_VITE_CONFIGURATIONS) if it and project.has(it)), None)
    text = project.text(file) if file else ""
    root = words[2] if len(words) > 2 and not words[2].startswith("-") else None
    root = root or _literal(text, "root", ".")
    made = option(words, "--outDir") or _literal(text, "outDir", "dist")
    return root or ".", posixpath.join(root, made) if root and made else None


def _literal(text: str, key: str, default: str) -> str | None:
    """The text that a configuration gives to a key; None where it is not plain text."""
    if re.search(rf"\b{key}\b", text) is None:
        return default
    found = re.findall(rf"\b{key}\s*:\s*(['\"])([^'\"$]+)\1", text)
    return found[0][1] if len(found) == 1 else None
