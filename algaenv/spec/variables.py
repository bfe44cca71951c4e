"""`${VAR}`, `${VAR:-default}` and `$$`, filled in values after all layers are merged.

Only what is left after merging is filled, so a value that the local file replaces needs none of
its variables. Keys of the author's own that the spec ignores are gone by then, too.
"""

from __future__ import annotations

import re
from dataclasses import replace

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.tree import Entry, Listing, Node, Scalar, Table

_DOLLAR = re.compile(
    r"\$(?:(?P<escape>\$)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^${}]*))?\}"
    r"|(?P<broken>\{[^}]*\}?))"
)


@dataclass(frozen=True, slots=True)
class Variables:
    """Fills trees from the environment of one load."""

    ledger: Ledger

    def fill(self, node: Node) -> Node:
        """The same tree with every value filled; what cannot be filled is complained about."""
        match node:
            case Scalar(value=str() as text) if "$" in text:
                return self._scalar(node, text)
            case Table():
                return Table(
                    {
                        key: Entry(entry.where, self.fill(entry.node))
                        for key, entry in node.entries.items()
                    },
                    node.where,
                )
            case Listing():
                return Listing(tuple(self.fill(item) for item in node.items), node.where)
        return node

    def _scalar(self, node: Scalar, text: str) -> Scalar:
        used = False
        before = len(self.ledger.problems)

        def value(match: re.Match[str]) -> str:
            nonlocal used
            if match["escape"]:
                return "$"
            where = _inside(node, match.start())
            if match["broken"]:
                self._broken(match[0], where)
                return match[0]
            used = True
            return self._value(match["name"], match["default"], where)

        filled = _DOLLAR.sub(value, text)
        if len(self.ledger.problems) > before:
            self.ledger.silent.add(node.where)
            return replace(node, value=None)
        return replace(node, value=filled, filled=used)

    def _value(self, name: str, default: str | None, where: Where) -> str:
        found = self.ledger.variable(name)
        if default is not None:
            return found or default
        if found is None:
            self.ledger.complain(
                "spec-variable-unset",
                f"fill ${{{name}}}: the variable is not set",
                f"set {name}, or write ${{{name}:-default}}",
                where,
            )
            return f"${{{name}}}"
        return found

    def _broken(self, text: str, where: Where) -> None:
        self.ledger.complain(
            "spec-variable-syntax",
            f"read {text[:40]} as a variable",
            "write ${NAME}, ${NAME:-default}, or $${ for the two characters themselves",
            where,
        )


def _inside(node: Scalar, offset: int) -> Where:
    if not node.verbatim:
        return node.where
    opening = 0 if node.plain else 1
    return replace(node.where, column=node.where.column + opening + offset)
