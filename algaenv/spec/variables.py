"""What is done to a spec after all its layers are merged: notes are removed, variables filled.

Extension fields (`x-*` keys) and empty keys go first. Below a key whose mapping belongs to the
author (names, variables, configuration) everything counts, except that an extension called `x-…` is
taken for one of the author's notes.

The forms of variables are those of Compose: `${X:-d}`, `${X-d}`, `${X:?m}`, `${X?m}`, `${X:+a}` and
`${X+a}`, one inside another if need be, and `$$`. Only what is left after merging is filled, so a
value that the local file replaces needs none of its variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics, shorten
from algaenv.spec.nodes import MappingEntry, MappingNode, Node, ScalarNode, SequenceNode

_HEAD = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:?[-?+]|\})")
_UNBRACED = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
FREE_FORM_KEYS = frozenset(
    {
        "additional_fields",
        "args",
        "body",
        "config",
        "environment",
        "files",
        "headers",
        "json",
        "ports",
        "process_environment",
        "records",
        "secrets",
    }
)
"""Keys whose mappings hold the author's own names."""
EXTENSIONS_KEY = "extensions"
NAMED_KEYS = frozenset({EXTENSIONS_KEY, "tasks", "services"})
"""The keys whose mappings hold the author's names, each for a mapping of the spec's own."""
_FIELD_PREFIX = "x-"


@dataclass(frozen=True, slots=True)
class UnsetVariable:
    """A variable that is needed and has no value; `message` is the author's, if there is one."""

    name: str
    offset: int
    message: str | None


@dataclass(slots=True)
class Expansion:
    """One text on its way to what it means. `lookup` gives None for what is not set."""

    text: str
    lookup: Callable[[str], str | None]
    unset: list[UnsetVariable] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    """Where something begins with `${` that is no variable."""
    used: bool = False
    """Whether a variable was substituted."""

    def expand(self) -> str:
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
                self.unset.append(UnsetVariable(name, at, None))
            return found or "", match.end()
        lacks = found is None or (operator[0] == ":" and not found)
        alternative = operator[-1] == "+"
        try:
            word, end = self._run(match.end(), inside=True, live=live and lacks is not alternative)
        except EOFError:
            self.broken.append(at)
            return "${", at + 2
        if operator[-1] == "?" and live and lacks:
            self.unset.append(UnsetVariable(name, at, word))
        return word if lacks is not alternative else "" if alternative else found or "", end


@dataclass(frozen=True, slots=True)
class VariableExpander:
    """Fills trees from the environment of one load."""

    diagnostics: Diagnostics

    def fill(self, node: Node) -> Node:
        """The same tree with every value filled; what cannot be filled adds an error."""
        match node:
            case ScalarNode(value=str() as text) if "$" in text:
                return self._scalar(node, text)
            case MappingNode():
                return MappingNode(
                    {
                        key: MappingEntry(entry.where, self.fill(entry.node))
                        for key, entry in node.entries.items()
                    },
                    node.where,
                )
            case SequenceNode():
                return SequenceNode(tuple(self.fill(item) for item in node.items), node.where)
        return node

    def _scalar(self, node: ScalarNode, text: str) -> ScalarNode:
        expansion = Expansion(text, self.diagnostics.variable)
        filled = expansion.expand()
        for each in expansion.unset:
            self._unset(each, _position_in(node, each.offset))
        for offset in expansion.broken:
            self._broken(text[offset:], _position_in(node, offset))
        if expansion.unset or expansion.broken:
            self.diagnostics.reported.add(node.where)
            return replace(node, value=None)
        if unbraced := _UNBRACED.search(text.replace("$$", "")):
            self.diagnostics.unbraced[node.where] = unbraced[1]
        return replace(node, value=filled, filled=expansion.used)

    def _unset(self, unset: UnsetVariable, where: Where) -> None:
        name, message = unset.name, unset.message
        hint = f"set {name} in the shell, or in a file .env beside the spec"
        if message is None:
            hint += f", or write ${{{name}:-default}}"
        state = "not set" if self.diagnostics.variable(name) is None else "empty"
        reason = shorten(message, 200) if message else f"the variable is {state}"
        self.diagnostics.add_error(
            "spec-variable-unset", f"fill ${{{name}}}: {reason}", hint, where
        )

    def _broken(self, text: str, where: Where) -> None:
        self.diagnostics.add_error(
            "spec-variable-syntax",
            f"read {shorten(text, 40)} as a variable",
            "write ${NAME}, ${NAME:-default}, or $${ for the two characters themselves",
            where,
        )


def _position_in(node: ScalarNode, offset: int) -> Where:
    if not node.verbatim:
        return node.where
    opening = 0 if node.plain else 1
    return replace(node.where, column=node.where.column + opening + offset)


DOTENV_FILE: Final = ".env"

_LINE: Final = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*
    (?:'(?P<literal>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\n]*?))
    [ \t]*(?:(?<=[ \t'"=:])\#[^\n]*)?(?:\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_BLANK_OR_COMMENT: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


def read_dotenv(spec: Path, diagnostics: Diagnostics, name: str = DOTENV_FILE) -> dict[str, str]:
    """What the file beside `spec` says, nothing without one; what is odd in it is warned of."""
    path, shown = spec.with_name(name), str(spec.with_name(name))
    try:
        text = diagnostics.read(path).decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, ValueError) else error.strerror or str(error)
        diagnostics.add_warning(
            "spec-dotenv", f"read {shown}: {why}", "make it a readable file", None
        )
        return {}
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if (skipped := _BLANK_OR_COMMENT.match(text, at)) and skipped.end() > at:
            at = skipped.end()
            continue
        where = Where(shown, text.count("\n", 0, at) + 1, 1)
        match = _LINE.match(text, at)
        if match is None:
            end = text.find("\n", at)
            at = len(text) if end < 0 else end + 1
            diagnostics.add_warning("spec-dotenv", "read this line", "write NAME=value", where)
            continue
        at = match.end()
        values[match["name"]] = _dotenv_value(match, values, diagnostics, where)
    return values


def _dotenv_value(
    match: re.Match[str], earlier: dict[str, str], diagnostics: Diagnostics, where: Where
) -> str:
    if match["literal"] is not None:
        return match["literal"]
    text = match["plain"]
    if match["quoted"] is not None:
        # A dollar sign that is escaped is text, which is what two of them stand for.
        text = match["quoted"].replace("\\$", "$$")
        text = _ESCAPE.sub(lambda it: _ESCAPES.get(it[1], it[1]), text)

    def lookup(name: str) -> str | None:
        diagnostics.variables[name] = None
        return diagnostics.environ.get(name, earlier.get(name, ""))

    expansion = Expansion(text, lookup)
    filled = expansion.expand()
    if expansion.broken or expansion.unset:
        diagnostics.add_warning(
            "spec-dotenv", "fill a variable in this line", "write ${NAME}", where
        )
    return filled


def remove_extension_fields(tree: MappingNode, diagnostics: Diagnostics) -> MappingNode:
    """The tree without its notes; warns of one that looks like an extension."""
    stripped = _without_notes(_table(tree), NAMED_KEYS - {EXTENSIONS_KEY})
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


def _without_notes(tree: MappingNode, keys: frozenset[str]) -> MappingNode:
    entries = dict(tree.entries)
    for key in keys & entries.keys():
        entry = entries[key]
        if isinstance(entry.node, MappingNode):
            kept = {k: v for k, v in entry.node.entries.items() if not k.startswith(_FIELD_PREFIX)}
            entries[key] = MappingEntry(entry.where, MappingNode(kept, entry.node.where))
    return MappingNode(entries, tree.where)


def _table(table: MappingNode) -> MappingNode:
    entries: dict[str, MappingEntry] = {}
    for key, entry in table.entries.items():
        empty = isinstance(entry.node, ScalarNode) and entry.node.value is None
        if empty or key.startswith(_FIELD_PREFIX):
            continue
        if key in NAMED_KEYS and isinstance(entry.node, MappingNode):
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
