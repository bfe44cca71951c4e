"""`${VAR}`, its forms with a default, and `$$`, filled in values after all layers are merged.

The forms are those of Compose: `${X:-d}`, `${X-d}`, `${X:?m}`, `${X?m}`, `${X:+a}` and `${X+a}`,
one inside another if need be. Only what is left after merging is filled, so a value that the local
file replaces needs none of its variables. Keys of the author's own that the spec ignores are gone
by then, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field, replace

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.suggest import shortened
from algaenv.spec.tree import Entry, Listing, Node, Scalar, Table

_HEAD = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:?[-?+]|\})")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Unset:
    """A variable that is needed and has no value; `message` is the author's, if there is one."""

    name: str
    offset: int
    message: str | None


@dataclass(slots=True)
class Expansion:
    """One text on its way to what it means. `lookup` gives None for what is not set."""

    text: str
    lookup: Callable[[str], str | None]
    unset: list[Unset] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    """Where something begins with `${` that is no variable."""
    used: bool = False
    """A variable had a say in it."""

    def whole(self) -> str:
        """The text with all filled; it means nothing when `unset` or `broken` has something."""
        return self._run(0, inside=False, live=True)[0]

    def _run(self, at: int, *, inside: bool, live: bool) -> tuple[str, int]:
        """From `at` to the end, or past the brace that closes a form; `live` if it counts.

        Raises EOFError when that brace is missing.
        """
        text, depth = self.text, 0
        parts: list[str] = []
        while at < len(text):
            if text.startswith("$$", at):
                parts.append("$")
                at += 2
            elif text.startswith("${", at):
                part, at = self._form(at, live=live)
                parts.append(part)
            elif inside and text[at] == "}" and depth == 0:
                return "".join(parts), at + 1
            else:
                depth += (text[at] == "{") - (text[at] == "}")
                parts.append(text[at])
                at += 1
        if inside:
            raise EOFError
        return "".join(parts), at

    def _form(self, at: int, *, live: bool) -> tuple[str, int]:
        match = _HEAD.match(self.text, at)
        if match is None:
            self.broken.append(at)
            return "${", at + 2
        self.used = True
        name, operator = match["name"], match["operator"]
        found = self.lookup(name) if live else None
        if operator == "}":
            if live and found is None:
                self.unset.append(Unset(name, at, None))
            return found or "", match.end()
        lacks = found is None or (operator[0] == ":" and not found)
        alternative = operator[-1] == "+"
        try:
            word, end = self._run(match.end(), inside=True, live=live and lacks is not alternative)
        except EOFError:
            self.broken.append(at)
            return "${", at + 2
        if operator[-1] == "?" and live and lacks:
            self.unset.append(Unset(name, at, word))
        return word if lacks is not alternative else "" if alternative else found or "", end


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
        expansion = Expansion(text, self.ledger.variable)
        filled = expansion.whole()
        for each in expansion.unset:
            self._unset(each, _inside(node, each.offset))
        for offset in expansion.broken:
            self._broken(text[offset:], _inside(node, offset))
        if expansion.unset or expansion.broken:
            self.ledger.silent.add(node.where)
            return replace(node, value=None)
        if bare := _BARE.search(text.replace("$$", "")):
            self.ledger.bare[node.where] = bare[1]
        return replace(node, value=filled, filled=expansion.used)

    def _unset(self, unset: Unset, where: Where) -> None:
        name, message = unset.name, unset.message
        hint = f"set {name} in the shell, or in a file .env beside the spec"
        if message is None:
            hint += f", or write ${{{name}:-default}}"
        state = "not set" if self.ledger.variable(name) is None else "empty"
        said = shortened(message, 200) if message else f"the variable is {state}"
        self.ledger.complain("spec-variable-unset", f"fill ${{{name}}}: {said}", hint, where)

    def _broken(self, text: str, where: Where) -> None:
        self.ledger.complain(
            "spec-variable-syntax",
            f"read {shortened(text, 40)} as a variable",
            "write ${NAME}, ${NAME:-default}, or $${ for the two characters themselves",
            where,
        )


def _inside(node: Scalar, offset: int) -> Where:
    if not node.verbatim:
        return node.where
    opening = 0 if node.plain else 1
    return replace(node.where, column=node.where.column + opening + offset)
