"""Fragments: files with parts of a spec, which `include` names.

What a fragment says counts as if it stood in the file that includes it. It adds and never
overrides: a name that is already there is an error, with both places. A fragment that is reached
twice is read once.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics, nearest
from algaenv.spec.nodes import MappingEntry, MappingNode, Node, ScalarNode, SequenceNode, kind_of
from algaenv.spec.paths import absolute, is_directory

INCLUDE: Final = "include"
FRAGMENT_FILE: Final = "algaenv.fragment.yaml"
"""The file that is meant where a directory is included."""
SECTIONS: Final = ("extensions", "services", "tasks")
"""The keys of a fragment whose mappings are added."""
_KEYS: Final = (INCLUDE, "version", *SECTIONS)
_DEEPEST: Final = 8
"""How many fragments may include one another in a row."""
_NOTE: Final = "x-"

ReadFile = Callable[[Path, str, Where], MappingNode | None]
"""Reads the file at a path, which messages call by a name, as a place asks for it."""


@dataclass(frozen=True, slots=True)
class Link:
    """A file that includes another: as messages call it, and its real path."""

    shown: str
    real: str

    @classmethod
    def of(cls, path: Path | str) -> Link:
        """That of a file which is named by its path."""
        return cls(str(path), os.path.realpath(path))


def is_nothing(node: Node) -> bool:
    """Whether the author wrote null, or nothing."""
    return isinstance(node, ScalarNode) and node.value is None


@dataclass(frozen=True, slots=True)
class Includer:
    """Adds the fragments of one spec; `read` gives None after an error."""

    diagnostics: Diagnostics
    read: ReadFile
    seen: set[str] = field(default_factory=set)
    """The real paths of the fragments that were read."""

    def with_fragments(self, tree: MappingNode, chain: tuple[Link, ...]) -> MappingNode:
        """`tree` with what its fragments add, without `include`.

        `chain` are the files that lead to it, the last of them its own.
        """
        entry = tree.entries.get(INCLUDE)
        entries = {key: it for key, it in tree.entries.items() if key != INCLUDE}
        if entry is None or is_nothing(entry.node):
            return MappingNode(entries, tree.where)
        for node in self._listed(entry.node):
            fragment = self._fragment(node, chain)
            if fragment is not None:
                self._add(entries, fragment)
        return MappingNode(entries, tree.where)

    def _listed(self, node: Node) -> Iterator[ScalarNode]:
        for each in node.items if isinstance(node, SequenceNode) else (node,):
            match each:
                case ScalarNode(value=str() as text) if text:
                    yield each
                case _:
                    self.diagnostics.add_error(
                        "spec-type",
                        f"use {kind_of(each)} as include: a path or a list of paths is needed",
                        "write a path such as ./hello, or [./hello, ./tickets]",
                        each.where,
                    )

    def _fragment(self, node: ScalarNode, chain: tuple[Link, ...]) -> MappingNode | None:
        """The tree of a fragment, with what it includes itself; None for one that adds nothing."""
        name, target = chain[-1].shown, str(node.value)
        path = Path(absolute(self.diagnostics.base_directories[name], target))
        shown = target if target[0] == "~" else os.path.normpath(Path(name).parent / target)
        if is_directory(str(path)):
            path, shown = path / FRAGMENT_FILE, f"{shown}/{FRAGMENT_FILE}"
        real = os.path.realpath(path)
        before = [it.real for it in chain]
        if real in before:
            circle = (*(it.shown for it in chain[before.index(real) :]), shown)
            self.diagnostics.add_error(
                "spec-include-cycle",
                f"include {shown}: {' → '.join(circle)} is a circle",
                "break the circle",
                node.where,
            )
            return None
        if len(chain) > _DEEPEST:
            self.diagnostics.add_error(
                "spec-include-depth",
                f"include {shown}: {_DEEPEST} fragments include one another before it",
                "include it in the spec itself",
                node.where,
            )
            return None
        if real in self.seen:
            return None
        self.seen.add(real)
        tree = self.read(path, shown, node.where)
        if tree is None:
            return None
        self._check_keys(tree)
        return self.with_fragments(tree, (*chain, Link(shown, real)))

    def _check_keys(self, tree: MappingNode) -> None:
        for key, entry in tree.entries.items():
            if key in _KEYS or key.startswith(_NOTE):
                continue
            near = nearest(key, _KEYS)
            self.diagnostics.add_error(
                "spec-include-key",
                f"use {key} in a fragment: it holds {', '.join(SECTIONS)} and {INCLUDE} only",
                f"did you mean `{near}`?" if near else "write it in the spec that includes this",
                entry.where,
            )

    def _add(self, entries: dict[str, MappingEntry], fragment: MappingNode) -> None:
        """Add the sections of a fragment to those of the file that includes it."""
        for section in SECTIONS:
            more = fragment.entries.get(section)
            if more is None or is_nothing(more.node):
                continue
            there = entries.get(section)
            if there is None or is_nothing(there.node):
                entries[section] = more
                continue
            if isinstance(there.node, MappingNode) and isinstance(more.node, MappingNode):
                names = dict(there.node.entries)
                for name, entry in more.node.entries.items():
                    self._add_name(names, section, name, entry)
                node = MappingNode(names, there.node.where)
                entries[section] = MappingEntry(there.where, node)
            elif not isinstance(more.node, MappingNode):
                # The model says what is wrong with it, at its place.
                entries[section] = more

    def _add_name(
        self, names: dict[str, MappingEntry], section: str, name: str, entry: MappingEntry
    ) -> None:
        if name.startswith(_NOTE):
            return
        if name in names:
            self.diagnostics.add_error(
                "spec-include-conflict",
                f"add {section}.{name}: {names[name].where} has it already",
                "rename one of them; to change what a fragment says, use the local file",
                entry.where,
            )
            return
        names[name] = entry
