"""Removes extension fields (`x-*` keys) and empty keys before variables are filled.

Below a key whose mapping belongs to the author (names, variables, configuration) everything
counts, except that an extension called `x-…` is taken for one of the author's notes.
"""

from __future__ import annotations

from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.nodes import MappingEntry, MappingNode, Node, ScalarNode, SequenceNode

FREE_FORM_KEYS = frozenset(
    {
        "additional_fields",
        "args",
        "config",
        "environment",
        "files",
        "ports",
        "process_environment",
        "secrets",
    }
)
"""Keys whose mappings hold the author's own names."""
EXTENSIONS_KEY = "extensions"
"""The key whose mapping holds the author's names, each for a mapping of the spec's own."""
_FIELD_PREFIX = "x-"


def remove_extension_fields(tree: MappingNode, diagnostics: Diagnostics) -> MappingNode:
    """The tree without its notes; warns of one that looks like an extension."""
    stripped = _table(tree)
    extensions = stripped.entries.get(EXTENSIONS_KEY)
    if extensions is None or not isinstance(extensions.node, MappingNode):
        return stripped
    kept: dict[str, MappingEntry] = {}
    for name, entry in extensions.node.entries.items():
        if not name.startswith(_FIELD_PREFIX):
            kept[name] = entry
        elif isinstance(entry.node, ScalarNode) or "source" in _keys(entry.node):
            diagnostics.add_warning(
                "spec-extension-ignored",
                f"install the extension {name}: keys that begin with x- are notes",
                "give it another name if it is an extension",
                entry.where,
            )
    table = MappingNode(kept, extensions.node.where)
    return MappingNode(
        {**stripped.entries, EXTENSIONS_KEY: MappingEntry(extensions.where, table)}, tree.where
    )


def _table(table: MappingNode) -> MappingNode:
    entries: dict[str, MappingEntry] = {}
    for key, entry in table.entries.items():
        empty = isinstance(entry.node, ScalarNode) and entry.node.value is None
        if empty or key.startswith(_FIELD_PREFIX):
            continue
        if key == EXTENSIONS_KEY and isinstance(entry.node, MappingNode):
            entries[key] = MappingEntry(entry.where, _named(entry.node))
        else:
            entries[key] = (
                entry if key in FREE_FORM_KEYS else MappingEntry(entry.where, _inner(entry.node))
            )
    return MappingNode(entries, table.where)


def _named(table: MappingNode) -> MappingNode:
    return MappingNode(
        {
            key: MappingEntry(entry.where, _inner(entry.node))
            for key, entry in table.entries.items()
        },
        table.where,
    )


def _inner(node: Node) -> Node:
    match node:
        case MappingNode():
            return _table(node)
        case SequenceNode():
            return SequenceNode(tuple(_inner(item) for item in node.items), node.where)
    return node


def _keys(node: Node) -> frozenset[str]:
    return frozenset(node.entries) if isinstance(node, MappingNode) else frozenset()
