"""Writes specs as text, and adds to one without touching what its author wrote.

A YAML library that writes a document back would lose indentation, quotes or line ends somewhere.
Here lines are inserted at the place that the parser names, and the result is read again: it must be
the old document with the one entry more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from algaenv import SCHEMAS
from algaenv.model.problem import Problem, SpecError, Where

if TYPE_CHECKING:
    from yaml.nodes import Node

SCHEMA_LINE: Final = f"# yaml-language-server: $schema={SCHEMAS}/algaenv.schema.json"
_KEY: Final = "extensions"
_STEP: Final = 2


def new_spec(name: str, extension: str, entry: Sequence[str]) -> str:
    """A spec with one extension."""
    lines = [SCHEMA_LINE, "version: 1", f"name: {yaml_text(name)}", f"{_KEY}:"]
    return "\n".join([*lines, *_entry_lines(extension, entry, _STEP)]) + "\n"


def add_extension(text: str, file: str, extension: str, entry: Sequence[str]) -> str:
    """The text of a valid spec with one extension more, everything else as it was.

    Raises SpecError (`spec-edit`) where its form leaves no place that lines can be added to.
    """
    import yaml

    newline = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    root = yaml.compose(plain, Loader=yaml.SafeLoader)
    edited = _edited(plain, root, extension, entry)
    if edited is None or not _is_the_same_and(plain, edited, extension, entry):
        lines = _entry_lines(extension, entry, 0)
        raise SpecError(
            Problem(
                "spec-edit",
                f"cannot add {extension} to {file}: its `{_KEY}` are not written as lines",
                "add these lines under it by hand",
                Where(file, 1, 1),
                tuple(lines),
            )
        )
    return edited.replace("\n", newline)


def yaml_text(text: str) -> str:
    """A text as a scalar of YAML, quoted where it would mean something else."""
    import yaml

    try:
        plain = yaml.safe_load(f"{text}: {text}") == {text: text}
    except yaml.YAMLError:
        plain = False
    return text if plain and "#" not in text else json.dumps(text, ensure_ascii=False)


def _edited(text: str, root: Node | None, extension: str, entry: Sequence[str]) -> str | None:
    from yaml.nodes import MappingNode, ScalarNode

    if not isinstance(root, MappingNode) or root.flow_style:
        return None
    pair = next((it for it in root.value if it[0].value == _KEY), None)
    lines = text.split("\n")
    if pair is None:
        indent = root.start_mark.column
        added = [f"{' ' * indent}{_KEY}:", *_entry_lines(extension, entry, indent + _STEP)]
        return _inserted(lines, _last_line(root) + 1, added)
    key, value = pair
    below = key.start_mark.column + _STEP
    empty = isinstance(value, ScalarNode) and value.style is None and value.value in ("", "~")
    if isinstance(value, MappingNode) and value.flow_style:
        if value.value or value.start_mark.line != value.end_mark.line:
            return None
        # `{}` gives way to lines; a comment behind it stays.
        line, start, end = value.start_mark.line, value.start_mark.column, value.end_mark.column
        kept = lines[line][:start].rstrip() + lines[line][end:]
        lines[line] = kept
        return _inserted(lines, line + 1, _entry_lines(extension, entry, below))
    if empty:
        if value.value:
            return None
        return _inserted(lines, key.start_mark.line + 1, _entry_lines(extension, entry, below))
    if not isinstance(value, MappingNode):
        return None
    indent = value.value[0][0].start_mark.column
    return _inserted(lines, _last_line(value) + 1, _entry_lines(extension, entry, indent))


def _last_line(node: Node) -> int:
    """The line, from 0, that the content of a node ends in; comments behind it do not count."""
    from yaml.nodes import MappingNode, ScalarNode, SequenceNode

    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        key, value = node.value[-1]
        return max(_last_line(value), int(key.end_mark.line))
    if isinstance(node, SequenceNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1])
    line: int = node.end_mark.line
    if isinstance(node, ScalarNode) and node.style in ("|", ">"):
        return line - (node.end_mark.column == 0)
    return line


def _inserted(lines: list[str], at: int, added: Iterable[str]) -> str:
    if at >= len(lines) and lines[-1]:
        lines = [*lines, ""]  # The last line had no end.
        at = len(lines) - 1
    elif at >= len(lines):
        at = len(lines) - 1
    return "\n".join([*lines[:at], *added, *lines[at:]])


def _entry_lines(extension: str, entry: Sequence[str], indent: int) -> list[str]:
    lead, inner = " " * indent, " " * (indent + _STEP)
    return [f"{lead}{yaml_text(extension)}:", *(f"{inner}{line}" for line in entry)]


def _is_the_same_and(before: str, after: str, extension: str, entry: Sequence[str]) -> bool:
    import yaml

    old: Any = yaml.safe_load(before)
    try:
        new: Any = yaml.safe_load(after)
    except yaml.YAMLError:
        return False
    extensions = {**(old.get(_KEY) or {}), extension: yaml.safe_load("\n".join(entry))}
    return bool(new == {**old, _KEY: extensions})
