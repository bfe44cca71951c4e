"""Reads YAML: bytes in, a positioned tree out, from PyYAML's events.

PyYAML's own composer forgets where keys stood, takes the last of two equal keys, and unfolds
aliases without a limit; this one keeps, refuses and counts them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol

from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics, shorten
from algaenv.spec.nodes import (
    MappingEntry,
    MappingNode,
    Node,
    ScalarNode,
    ScalarResolver,
    SequenceNode,
    kind_of,
)

if TYPE_CHECKING:
    from yaml.events import (
        AliasEvent,
        Event,
        MappingStartEvent,
        ScalarEvent,
        SequenceStartEvent,
    )


class YamlPosition(Protocol):
    """A position as PyYAML's parsers give it; both count from zero."""

    line: int
    column: int


MAX_DEPTH = 32
"""Levels of nesting; no spec needs a third of it."""
MAX_NODES = 20_000
"""Nodes after aliases are unfolded."""

_TAG = "tag:yaml.org,2002:"
_ODD_IN_QUOTES = re.compile("[\x00\ud800-\udfff]")


class ParseAborted(Exception):
    """The text cannot be read on; the error was added already."""


class TreeBuilder:
    """Builds the tree from the parser's events, one document of one file."""

    def __init__(self, text: str, file: str, diagnostics: Diagnostics) -> None:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Event] = yaml.parse(text, Loader=loader)
        self._file = file
        self._diagnostics = diagnostics
        self._scalars = ScalarResolver()
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        """The root; None for an empty stream. Raises ParseAborted and yaml.YAMLError."""
        from yaml import events as ev

        root: Node | None = None
        for event in self._events:
            match event:
                case ev.DocumentStartEvent() if root is not None:
                    self._abort(
                        "spec-documents",
                        "read a second document in one file",
                        "delete the line `---` and what follows it, or move that to another file",
                        event.start_mark,
                    )
                case ev.NodeEvent():
                    root = self._node(event, 0)
        if isinstance(root, ScalarNode) and root.value is None and root.plain:
            return None
        return root

    def _node(self, event: Event, depth: int) -> Node:
        from yaml import events as ev

        if depth > MAX_DEPTH:
            self._abort(
                "spec-depth", f"nest deeper than {MAX_DEPTH} levels", "flatten it", event.start_mark
            )
        if isinstance(event, ev.AliasEvent):
            return self._alias(event)
        self._count(1, event.start_mark)
        before = self._nodes
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        node: Node
        match event:
            case ev.ScalarEvent():
                node = self._scalar(event)
            case ev.SequenceStartEvent():
                node = self._sequence(event, depth)
            case ev.MappingStartEvent():
                node = self._mapping(event, depth)
            case _:  # the parser's grammar has no other node
                raise AssertionError(event)
        if anchor is not None:
            self._anchors[anchor] = (node, self._nodes - before + 1)
        return node

    def _alias(self, event: AliasEvent) -> Node:
        name = event.anchor
        if name not in self._anchors:
            self._abort(
                "spec-alias",
                f"find the anchor `&{name}` above this alias",
                f"write `&{name}` before the value that is to be repeated",
                event.start_mark,
            )
        known = self._anchors[name]
        if known is None:
            self._abort(
                "spec-alias",
                f"put `*{name}` inside of what it stands for",
                "write the value out",
                event.start_mark,
            )
        node, size = known
        self._count(size, event.start_mark)
        return node

    def _count(self, nodes: int, mark: YamlPosition | None) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._abort(
                "spec-expansion",
                f"hold more than {MAX_NODES} values, aliases unfolded",
                "use fewer aliases of aliases",
                mark,
            )

    def _scalar(self, event: ScalarEvent) -> ScalarNode:
        where, text, plain = self._where(event.start_mark), event.value, not event.style
        kind = self._kind(event.tag, event.start_mark, ("str", "null", "bool", "int", "float"))
        value: str | int | float | bool | None = text
        try:
            if kind is not None:
                value = self._scalars.explicit(kind, text)
            elif plain:
                value = self._scalars.resolve_scalar(text)
        except ValueError:
            self._diagnostics.add_error(
                "spec-number",
                f"use `{shorten(text, 40)}` as a {'number' if kind is None else kind}",
                "write a finite decimal number, or put the text into quotes",
                where,
            )
            value = None
            self._diagnostics.reported.add(where)
        if odd := _ODD_IN_QUOTES.search(text):
            self._diagnostics.add_error(
                "spec-character",
                f"use the character U+{ord(odd[0]):04X} in a value",
                "delete it",
                where,
            )
            value = None
            self._diagnostics.reported.add(where)
        quotes = 0 if plain else 2
        end = Where(where.file, where.line, where.column + len(text) + quotes)
        verbatim = self._where(event.end_mark) == end
        return ScalarNode(value, text, where, plain and kind is None, verbatim)

    def _sequence(self, event: SequenceStartEvent, depth: int) -> SequenceNode:
        from yaml import events as ev

        self._kind(event.tag, event.start_mark, ("seq",))
        items: list[Node] = []
        while not isinstance(item := next(self._events), ev.SequenceEndEvent):
            items.append(self._node(item, depth + 1))
        return SequenceNode(tuple(items), self._where(event.start_mark))

    def _mapping(self, event: MappingStartEvent, depth: int) -> MappingNode:
        from yaml import events as ev

        self._kind(event.tag, event.start_mark, ("map",))
        entries: dict[str, MappingEntry] = {}
        merged: dict[str, MappingEntry] = {}
        while not isinstance(head := next(self._events), ev.MappingEndEvent):
            name = self._key(self._node(head, depth + 1))
            where = self._where(head.start_mark)
            node = self._node(next(self._events), depth + 1)
            if name is None:
                continue
            if name == "<<" and isinstance(head, ev.ScalarEvent) and not head.style:
                for key, entry in self._merge(node, where).items():
                    merged.setdefault(key, entry)
            elif name in entries:
                self._diagnostics.add_error(
                    "spec-key-duplicate",
                    f"use the key `{name}` twice",
                    f"delete one; the first is at line {entries[name].where.line}",
                    where,
                )
            else:
                entries[name] = MappingEntry(where, node)
        return MappingNode({**merged, **entries}, self._where(event.start_mark))

    def _merge(self, node: Node, where: Where) -> dict[str, MappingEntry]:
        """What `<<` brings in; of several mappings the earlier wins."""
        sources = node.items if isinstance(node, SequenceNode) else (node,)
        entries: dict[str, MappingEntry] = {}
        for source in sources:
            if isinstance(source, MappingNode):
                for key, entry in source.entries.items():
                    entries.setdefault(key, entry)
            else:
                self._diagnostics.add_error(
                    "spec-merge-key",
                    "merge anything but mappings with `<<`",
                    "write `<<: *anchor` with the anchor on a mapping",
                    where,
                )
        return entries

    def _key(self, node: Node) -> str | None:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ScalarNode):
            shown, hint = f"`{node.text}` ({kind_of(node)})", f'put it in quotes: "{node.text}"'
            if node.value is None:
                shown, hint = "nothing", "write a name before the colon"
        else:
            shown, hint = kind_of(node), "write a name before the colon"
        self._diagnostics.add_error("spec-key-text", f"use {shown} as a key", hint, node.where)
        return None

    def _kind(
        self, tag: str | None, mark: YamlPosition | None, allowed: tuple[str, ...]
    ) -> str | None:
        """The kind that an explicit tag asks for; None without one, or after an error."""
        if tag in (None, "!"):
            return None
        kind = str(tag).removeprefix(_TAG)
        if tag == _TAG + kind and kind in allowed:
            return kind
        self._diagnostics.add_error(
            "spec-tag",
            f"use the tag `{str(tag).replace(_TAG, '!!')}`",
            "write a plain value without a tag",
            self._where(mark),
        )
        return None

    def _where(self, mark: YamlPosition | None) -> Where:
        if mark is None:
            return Where(self._file, 1, 1)
        return Where(self._file, mark.line + 1, mark.column + 1)

    def _abort(self, code: str, summary: str, hint: str, mark: YamlPosition | None) -> NoReturn:
        self._diagnostics.add_error(code, summary, hint, self._where(mark))
        raise ParseAborted


_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def decode_text(content: bytes, file: str, diagnostics: Diagnostics) -> str | None:
    """UTF-8 bytes as text; None after an error."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        diagnostics.add_error(
            "spec-encoding",
            f"read byte 0x{content[error.start]:02x} as UTF-8",
            "save the file as UTF-8",
            Where(file, line, column),
        )
        return None
    if odd := _FORBIDDEN.search(text):
        before_odd = text[: odd.start()]
        where = Where(file, before_odd.count("\n") + 1, len(before_odd) - before_odd.rfind("\n"))
        diagnostics.add_error(
            "spec-character",
            f"use the control character U+{ord(odd[0]):04X}",
            "delete it, or write it as an escape in double quotes",
            where,
        )
        return None
    return text


def parse_yaml(text: str, file: str, diagnostics: Diagnostics) -> Node | None:
    """The one document of `text`; None when it is empty, or after an error."""
    import yaml

    try:
        return TreeBuilder(text, file, diagnostics).document()
    except ParseAborted:
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
        reason = (error.problem or "it is malformed").strip()
        if _line(text, where)[where.column - 1 : where.column] == "\t":
            diagnostics.add_error("spec-tab", "indent with a tab", "use spaces", where)
        else:
            diagnostics.add_error(
                "spec-syntax",
                f"read this as YAML: {reason}",
                _syntax_hint(reason, _line(text, where)),
                where,
            )
        return None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        diagnostics.add_error(
            "spec-syntax",
            f"read this as YAML: {reason}",
            _syntax_hint(reason, ""),
            Where(file, 1, 1),
        )
        return None


def _line(text: str, where: Where) -> str:
    lines = text.splitlines()
    return lines[where.line - 1] if where.line <= len(lines) else ""


def _syntax_hint(reason: str, line: str) -> str:
    if "${" in line:
        return 'inside of braces and brackets put a variable into quotes: "${NAME}"'
    if "cannot start any token" in reason:
        return "put text that begins with this character into quotes"
    if "mapping values are not allowed" in reason:
        return "check the indentation, and put text that holds `: ` into quotes"
    return "check the indentation, brackets and quotes around this place"
