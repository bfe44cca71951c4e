"""A YAML document in which every node has its source position.

Everything between the text and the models works on these nodes, so that an error found late, after
`extends` and overlay, still points at the file, line and column of the author's text.

A plain scalar is null, a boolean, a number or text: YAML 1.1 as PyYAML resolves it, without its
traps. Dates, base-60 numbers (`80:80`) and numbers with a leading zero stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.model.resource import Json

if TYPE_CHECKING:
    from yaml.constructor import SafeConstructor
    from yaml.resolver import Resolver


NodePath = tuple[str | int, ...]
"""The keys and indices that lead from the root to a node."""
_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset({"null", "bool", "int", "float"})
_TRAP = re.compile(r"[-+]?0[0-9_]+|.*:.*", re.DOTALL)
_LONGEST_NUMBER = 78
"""Digits of 2**256; anything longer is a mistake."""


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


class ScalarResolver:
    """Resolves plain scalars; keeps PyYAML's tables, which take a while to import."""

    def __init__(self) -> None:
        from yaml.constructor import SafeConstructor
        from yaml.resolver import Resolver

        self._resolver: Resolver = Resolver()
        self._constructor: SafeConstructor = SafeConstructor()

    def resolve_scalar(self, text: str) -> str | int | float | bool | None:
        """What `text` means when it stands without quotes; raises ValueError for NaN and such."""
        from yaml import ScalarNode as YamlScalar

        tag = self._resolver.resolve(YamlScalar, text, (True, False))  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        if kind not in _KINDS or (kind in ("int", "float") and _TRAP.fullmatch(text)):
            return text
        return self.explicit(kind, text)

    def explicit(self, kind: str, text: str) -> str | int | float | bool | None:
        """`text` read as `kind` (str, null, bool, int, float); raises ValueError if it is not."""
        if kind == "str":
            return text
        if kind in ("int", "float") and len(text) > _LONGEST_NUMBER:
            raise ValueError("too long")
        from yaml import ScalarNode as YamlScalar
        from yaml import YAMLError

        try:
            value = self._constructor.construct_object(YamlScalar(_TAG + kind, text))
        except (YAMLError, KeyError, IndexError) as error:
            raise ValueError(f"not a {kind}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("not finite")
        if value is None or isinstance(value, bool | int | float):
            return value
        raise ValueError(f"not a {kind}")


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """What one bare word means; text where it would not be a number JSON can hold."""
    try:
        return ScalarResolver().resolve_scalar(text)
    except ValueError:
        return text


def plain_json(value: object) -> object:
    """A bare `${…}` in an author's JSON means what its text would mean there."""
    match value:
        case UnquotedSubstitutedText():
            return resolve_scalar(value)
        case SubstitutedText():
            return str(value)
        case list():
            return [plain_json(item) for item in value]
        case dict():
            return {key: plain_json(item) for key, item in value.items()}
    return value
