"""What the spec ignores is taken out before variables are filled: `x-*` keys and empty ones.

Below a key whose mapping belongs to the author (names, variables, configuration) everything
counts, except that an extension called `x-…` is taken for one of the author's notes.
"""

from __future__ import annotations

from algaenv.spec.ledger import Ledger
from algaenv.spec.tree import Entry, Listing, Node, Scalar, Table

FREE = frozenset(
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
NAMED = "extensions"
"""The key whose mapping holds the author's names, each for a mapping of the spec's own."""
_NOTE = "x-"


def strip(tree: Table, ledger: Ledger) -> Table:
    """The tree without its notes; warns of one that looks like an extension."""
    stripped = _table(tree)
    extensions = stripped.entries.get(NAMED)
    if extensions is None or not isinstance(extensions.node, Table):
        return stripped
    kept: dict[str, Entry] = {}
    for name, entry in extensions.node.entries.items():
        if not name.startswith(_NOTE):
            kept[name] = entry
        elif isinstance(entry.node, Scalar) or "source" in _keys(entry.node):
            ledger.warn(
                "spec-extension-ignored",
                f"install the extension {name}: keys that begin with x- are notes",
                "give it another name if it is an extension",
                entry.where,
            )
    table = Table(kept, extensions.node.where)
    return Table({**stripped.entries, NAMED: Entry(extensions.where, table)}, tree.where)


def _table(table: Table) -> Table:
    entries: dict[str, Entry] = {}
    for key, entry in table.entries.items():
        empty = isinstance(entry.node, Scalar) and entry.node.value is None
        if empty or key.startswith(_NOTE):
            continue
        if key == NAMED and isinstance(entry.node, Table):
            entries[key] = Entry(entry.where, _named(entry.node))
        else:
            entries[key] = entry if key in FREE else Entry(entry.where, _inner(entry.node))
    return Table(entries, table.where)


def _named(table: Table) -> Table:
    return Table(
        {key: Entry(entry.where, _inner(entry.node)) for key, entry in table.entries.items()},
        table.where,
    )


def _inner(node: Node) -> Node:
    match node:
        case Table():
            return _table(node)
        case Listing():
            return Listing(tuple(_inner(item) for item in node.items), node.where)
    return node


def _keys(node: Node) -> frozenset[str]:
    return frozenset(node.entries) if isinstance(node, Table) else frozenset()
