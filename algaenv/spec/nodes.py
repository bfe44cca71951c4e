"""A YAML document in which every node has its source position.

Everything between the text and the models works on these nodes, so that an error found late, after
`extends` and overlay, still points at the file, line and column of the author's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.model.resource import Json

NodePath = tuple[str | int, ...]
"""The keys and indices that lead from the root to a node."""


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value. `text` is how the file has it, before variables; `value` is what it means."""

    value: str | int | float | bool | None
    text: str
    where: Where
    plain: bool = False
    """Written without quotes, so that it may mean a number, a boolean or nothing."""
    verbatim: bool = False
    """`text` is in the file letter by letter, so a column inside it can be computed."""
    filled: bool = False
    """A variable went into `value`; messages must show `text` instead."""


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """A key of a table, with what it stands for."""

    where: Where
    node: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping, in the order of its file."""

    entries: Mapping[str, MappingEntry]
    where: Where


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A sequence."""

    items: tuple[Node, ...]
    where: Where


Node = ScalarNode | MappingNode | SequenceNode


class SubstitutedText(str):
    """Text that a variable went into: where a number or boolean is needed, it may mean one."""

    __slots__ = ()


class UnquotedSubstitutedText(SubstitutedText):
    """The same, written without quotes: it may mean one where anything is allowed, too."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SourceMap:
    """The source position of each path of a tree."""

    root: Node

    def node(self, path: Sequence[str | int]) -> Node | None:
        """What stands at `path`; None where the author wrote nothing."""
        node: Node | None = self.root
        for key in path:
            node = _child(node, key)
        return node

    def value(self, path: Sequence[str | int]) -> Where:
        """The place of the value at `path`, or of the nearest thing around it."""
        node = self.root
        for key in path:
            child = _child(node, key)
            if child is None:
                break
            node = child
        return node.where

    def key(self, path: Sequence[str | int]) -> Where:
        """The place of the key at the end of `path`, or of the nearest thing around it."""
        parent = self.node(path[:-1])
        if isinstance(parent, MappingNode) and (entry := parent.entries.get(str(path[-1]))):
            return entry.where
        return self.value(path)


def _child(node: Node | None, key: str | int) -> Node | None:
    match node:
        case MappingNode() if isinstance(key, str) and key in node.entries:
            return node.entries[key].node
        case SequenceNode() if isinstance(key, int) and key < len(node.items):
            return node.items[key]
    return None


def to_plain(node: Node) -> Json:
    """The values alone, as the models and JSON know them.

    A value that a variable went into stays text, marked as such: only the model knows what it is
    to be.
    """
    match node:
        case ScalarNode(value=str() as text, filled=True):
            return UnquotedSubstitutedText(text) if node.plain else SubstitutedText(text)
        case ScalarNode():
            return node.value
        case MappingNode():
            return {key: to_plain(entry.node) for key, entry in node.entries.items()}
        case SequenceNode():
            return [to_plain(item) for item in node.items]


def kind_of(node: Node) -> str:
    """A node's kind, as a person says it."""
    match node:
        case MappingNode():
            return "a mapping"
        case SequenceNode(items=items):
            return "a list" if items else "an empty list"
        case ScalarNode(value=bool()):
            return "a boolean"
        case ScalarNode(value=int() | float()):
            return "a number"
        case ScalarNode(value=None):
            return "nothing"
        case ScalarNode():
            return "text"
