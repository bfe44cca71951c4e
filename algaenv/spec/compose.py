"""From PyYAML's events to a positioned tree.

PyYAML's own composer forgets where keys stood, takes the last of two equal keys, and unfolds
aliases without a limit; this one keeps, refuses and counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol

from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.scalars import Words
from algaenv.spec.suggest import shortened
from algaenv.spec.tree import Entry, Listing, Node, Scalar, Table, kind_of

if TYPE_CHECKING:
    from yaml.events import (
        AliasEvent,
        Event,
        MappingStartEvent,
        ScalarEvent,
        SequenceStartEvent,
    )


class Mark(Protocol):
    """A position as PyYAML's parsers give it; both count from zero."""

    line: int
    column: int


DEPTH = 32
"""Levels of nesting; no spec needs a third of it."""
NODES = 20_000
"""Nodes after aliases are unfolded."""

_TAG = "tag:yaml.org,2002:"
_ODD_IN_QUOTES = re.compile("[\x00\ud800-\udfff]")


class Abandoned(Exception):
    """The text cannot be read on; the complaint is in the ledger already."""


class Composer:
    """Builds the tree from the parser's events, one document of one file."""

    def __init__(self, text: str, file: str, ledger: Ledger) -> None:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Event] = yaml.parse(text, Loader=loader)
        self._file = file
        self._ledger = ledger
        self._words = Words()
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        """The root; None for an empty stream. Raises Abandoned and yaml.YAMLError."""
        from yaml import events as ev

        root: Node | None = None
        for event in self._events:
            match event:
                case ev.DocumentStartEvent() if root is not None:
                    self._abandon(
                        "spec-documents",
                        "read a second document in one file",
                        "delete the line `---` and what follows it, or move that to another file",
                        event.start_mark,
                    )
                case ev.NodeEvent():
                    root = self._node(event, 0)
        if isinstance(root, Scalar) and root.value is None and root.plain:
            return None
        return root

    def _node(self, event: Event, depth: int) -> Node:
        from yaml import events as ev

        if depth > DEPTH:
            self._abandon(
                "spec-depth", f"nest deeper than {DEPTH} levels", "flatten it", event.start_mark
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
                node = self._listing(event, depth)
            case ev.MappingStartEvent():
                node = self._table(event, depth)
            case _:  # the parser's grammar has no other node
                raise AssertionError(event)
        if anchor is not None:
            self._anchors[anchor] = (node, self._nodes - before + 1)
        return node

    def _alias(self, event: AliasEvent) -> Node:
        name = event.anchor
        if name not in self._anchors:
            self._abandon(
                "spec-alias",
                f"find the anchor `&{name}` above this alias",
                f"write `&{name}` before the value that is to be repeated",
                event.start_mark,
            )
        known = self._anchors[name]
        if known is None:
            self._abandon(
                "spec-alias",
                f"put `*{name}` inside of what it stands for",
                "write the value out",
                event.start_mark,
            )
        node, size = known
        self._count(size, event.start_mark)
        return node

    def _count(self, nodes: int, mark: Mark | None) -> None:
        self._nodes += nodes
        if self._nodes > NODES:
            self._abandon(
                "spec-expansion",
                f"hold more than {NODES} values, aliases unfolded",
                "use fewer aliases of aliases",
                mark,
            )

    def _scalar(self, event: ScalarEvent) -> Scalar:
        where, text, plain = self._where(event.start_mark), event.value, not event.style
        kind = self._kind(event.tag, event.start_mark, ("str", "null", "bool", "int", "float"))
        value: str | int | float | bool | None = text
        try:
            if kind is not None:
                value = self._words.explicit(kind, text)
            elif plain:
                value = self._words.meaning(text)
        except ValueError:
            self._ledger.complain(
                "spec-number",
                f"use `{shortened(text, 40)}` as a {'number' if kind is None else kind}",
                "write a finite decimal number, or put the text into quotes",
                where,
            )
            value = None
            self._ledger.silent.add(where)
        if odd := _ODD_IN_QUOTES.search(text):
            self._ledger.complain(
                "spec-character",
                f"use the character U+{ord(odd[0]):04X} in a value",
                "delete it",
                where,
            )
            value = None
            self._ledger.silent.add(where)
        quotes = 0 if plain else 2
        end = Where(where.file, where.line, where.column + len(text) + quotes)
        verbatim = self._where(event.end_mark) == end
        return Scalar(value, text, where, plain and kind is None, verbatim)

    def _listing(self, event: SequenceStartEvent, depth: int) -> Listing:
        from yaml import events as ev

        self._kind(event.tag, event.start_mark, ("seq",))
        items: list[Node] = []
        while not isinstance(item := next(self._events), ev.SequenceEndEvent):
            items.append(self._node(item, depth + 1))
        return Listing(tuple(items), self._where(event.start_mark))

    def _table(self, event: MappingStartEvent, depth: int) -> Table:
        from yaml import events as ev

        self._kind(event.tag, event.start_mark, ("map",))
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
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
                self._ledger.complain(
                    "spec-key-duplicate",
                    f"use the key `{name}` twice",
                    f"delete one; the first is at line {entries[name].where.line}",
                    where,
                )
            else:
                entries[name] = Entry(where, node)
        return Table({**merged, **entries}, self._where(event.start_mark))

    def _merge(self, node: Node, where: Where) -> dict[str, Entry]:
        """What `<<` brings in; of several mappings the earlier wins."""
        sources = node.items if isinstance(node, Listing) else (node,)
        entries: dict[str, Entry] = {}
        for source in sources:
            if isinstance(source, Table):
                for key, entry in source.entries.items():
                    entries.setdefault(key, entry)
            else:
                self._ledger.complain(
                    "spec-merge-key",
                    "merge anything but mappings with `<<`",
                    "write `<<: *anchor` with the anchor on a mapping",
                    where,
                )
        return entries

    def _key(self, node: Node) -> str | None:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        if isinstance(node, Scalar):
            shown, hint = f"`{node.text}` ({kind_of(node)})", f'put it in quotes: "{node.text}"'
            if node.value is None:
                shown, hint = "nothing", "write a name before the colon"
        else:
            shown, hint = kind_of(node), "write a name before the colon"
        self._ledger.complain("spec-key-text", f"use {shown} as a key", hint, node.where)
        return None

    def _kind(self, tag: str | None, mark: Mark | None, allowed: tuple[str, ...]) -> str | None:
        """The kind that an explicit tag asks for; None without one, or after a complaint."""
        if tag in (None, "!"):
            return None
        kind = str(tag).removeprefix(_TAG)
        if tag == _TAG + kind and kind in allowed:
            return kind
        self._ledger.complain(
            "spec-tag",
            f"use the tag `{str(tag).replace(_TAG, '!!')}`",
            "write a plain value without a tag",
            self._where(mark),
        )
        return None

    def _where(self, mark: Mark | None) -> Where:
        if mark is None:
            return Where(self._file, 1, 1)
        return Where(self._file, mark.line + 1, mark.column + 1)

    def _abandon(self, code: str, summary: str, hint: str, mark: Mark | None) -> NoReturn:
        self._ledger.complain(code, summary, hint, self._where(mark))
        raise Abandoned
