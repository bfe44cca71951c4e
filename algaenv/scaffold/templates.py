"""The templates of `algaenv new`: listed, and filled in for one extension."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.spec.paths import stacks_root

NAME: Final = "extension-name"
PUBLISHER: Final = "publisher-name"
LABEL: Final = "Extension Label"
"""What stands in the files of templates, so that these are valid files themselves."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template: `entry` is its part of a spec, `following` are commands with their purposes."""

    name: str
    summary: str
    parts: tuple[str, ...]
    entry: str
    following: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """A template for one extension; `files` maps relative paths to contents."""

    files: Mapping[str, bytes]
    entry: tuple[str, ...]
    """Lines of YAML: what the spec says of the extension."""
    following: tuple[tuple[str, str], ...]


def templates_root() -> Path:
    """The directory of the templates that are shipped."""
    return stacks_root() / "templates"


def templates() -> Mapping[str, Template]:
    """Name → template, in the order of the list."""
    listed = tomllib.loads((templates_root() / "templates.toml").read_text(encoding="utf-8"))
    return {
        name: Template(
            name,
            about["summary"],
            tuple(about["parts"]),
            about["entry"],
            tuple((command, purpose) for command, purpose in about["next"]),
        )
        for name, about in listed.items()
    }


def fill(template: Template, name: str, publisher: str, source: str) -> FilledTemplate:
    """The files and the entry of an extension whose directory is `source`, as the spec has it."""
    values = {NAME: name, PUBLISHER: publisher, LABEL: label_of(name)}
    files: dict[str, bytes] = {}
    for part in template.parts:
        root = templates_root() / part
        for path in sorted(it for it in root.rglob("*") if it.is_file()):
            text = path.read_text(encoding="utf-8")
            files[path.relative_to(root).as_posix()] = _filled(text, values).encode()
    entry = _filled(template.entry.strip().replace(f"./{NAME}", source), values)
    following = tuple((_filled(command, values), why) for command, why in template.following)
    return FilledTemplate(files, tuple(entry.splitlines()), following)


def label_of(name: str) -> str:
    """What the menu calls an extension: `time-sheet` is a Time Sheet."""
    words = name.replace("-", " ").replace("_", " ").replace(".", " ").split()
    return " ".join(word.capitalize() for word in words)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
