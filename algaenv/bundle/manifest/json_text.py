"""Strict JSON with positions: every key and value of a text can be located.

The standard parser reads the text. It keeps no positions and accepts some texts that Alga's server
or its database does not, so positions are computed in a second pass, only when there is an error
to report. Syntax errors are worded here: the messages of the standard parser change with the Python
version, and speak of delimiters where an author wrote a comment or one comma too many.
"""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

from algaenv.bundle.value import dataclass, field

_SPACE = re.compile(r"[ \t\r\n]*")

_EMPTY = ("the file is empty", 'write an object such as {"name": …}')
_SHORT = ("it ends too early", "close every { and [")
_COMMA = ("a comma stands before a closing bracket", "remove the comma")
_COMMENT = ("JSON has no comments", "remove the comment")
_QUOTES = ("strings stand in double quotes", 'write "…"')

_BY_MESSAGE = {
    "Unterminated string": ("a string is not closed", 'close it with "'),
    "Invalid control character": (
        "a string is not closed on its line, or holds a raw control character",
        'close it with ", or write the character as \\n, \\t or \\u00XX',
    ),
    "Invalid \\": ("a string holds an unknown escape", "write \\\\ for a backslash"),
    "Extra data": ("text follows the end of the document", "remove what follows"),
}
_BY_CHARACTER = {"/": _COMMENT, "#": _COMMENT, "'": _QUOTES, "\u201c": _QUOTES, "\u201d": _QUOTES}
_BY_DELIMITER = {
    "Expecting ',' delimiter": ("a comma is missing", "write a comma between the values"),
    "Expecting ':' delimiter": ("a colon is missing", "write a colon between key and value"),
}


@dataclass(frozen=True, slots=True)
class JsonFault:
    """An error in a JSON text: offset, reason and hint."""

    offset: int
    what: str
    hint: str


Path = tuple[str | int, ...]
"""How to get to a value: keys of objects, indices of lists."""

MAX_DEPTH = 64

MAX_BYTES = 1024 * 1024
"""Of a manifest; a thousand times what one is like."""

_WORDS = {"N": ("NaN",), "I": ("Infinity",), "-": ("-Infinity",)}
TOO_LARGE = JsonFault(
    0,
    "it is larger than 1 MiB",
    "move data into a file of the page, or into the extension's storage",
)
_decode = json.JSONDecoder().raw_decode


class JsonError(Exception):
    """The text is not JSON, or not such as anything else would read."""

    def __init__(self, code: str, fault: JsonFault) -> None:
        super().__init__(fault.what)
        self.code = code
        self.fault = fault


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """The value, and whether some object in the text repeats a key."""

    value: Any
    repeats: bool


def load(text: str) -> JsonDocument:
    """Parse `text`. Raises JsonError."""
    if is_too_long(text):
        raise JsonError("manifest-too-large", TOO_LARGE)
    repeats = strange = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        value = dict(items)
        repeats = repeats or len(value) != len(items)
        return value

    def constant(word: str) -> None:  # noqa: ARG001
        nonlocal strange
        strange = True

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        if (strange or _nests_too_deep(value)) and (refused := _first_refused(text)) is not None:
            raise refused
        return JsonDocument(value, repeats)
    except RecursionError:
        # Nothing else makes the standard parser recurse.
        refused = _first_refused(text)
        assert refused is not None  # noqa: S101
        raise refused from None
    except json.JSONDecodeError as error:
        if (refused := _first_refused(text)) is not None:
            raise refused from None
        raise JsonError("manifest-syntax", explain_syntax_error(text, error)) from None
    except ValueError:
        if (refused := _first_refused(text)) is not None:
            raise refused from None
        # Python's guard against numbers of thousands of digits gives no position.
        fault = JsonFault(0, "a number is too long", "write a shorter number")
        raise JsonError("manifest-syntax", fault) from None


def is_too_long(text: str) -> bool:
    """Whether a text has more than MAX_BYTES in UTF-8; without encoding one that surely has."""
    return len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES


@dataclass(frozen=True, slots=True)
class JsonPositions:
    """Offsets of the keys and values of one valid JSON text."""

    keys: dict[Path, int] = field(default_factory=dict)
    values: dict[Path, int] = field(default_factory=dict)
    repeated: list[tuple[Path, int]] = field(default_factory=list)

    @classmethod
    def of(cls, text: str) -> JsonPositions:
        """Walk the text once. It must have passed `load`."""
        places = cls()
        places._walk(text, skip_space(text, 0), ())
        return places

    def _walk(self, text: str, at: int, path: Path) -> int:
        self.values[path] = at
        match text[at]:
            case "{":
                return self._members(text, at, path)
            case "[":
                return self._items(text, at, path)
            case _:
                return _decode(text, at)[1]

    def _members(self, text: str, at: int, path: Path) -> int:
        while text[at] != "}":
            at = skip_space(text, at + 1)
            if text[at] == "}":
                break
            key, end = _decode(text, at)
            here = (*path, key)
            if here in self.keys:
                self.repeated.append((here, at))
            self.keys[here] = at
            value_at = skip_space(text, skip_space(text, end) + 1)
            at = skip_space(text, self._walk(text, value_at, here))
        return at + 1

    def _items(self, text: str, at: int, path: Path) -> int:
        for index in count():
            at = skip_space(text, at + 1)
            if text[at] != "]":
                at = skip_space(text, self._walk(text, at, (*path, index)))
            if text[at] == "]":
                break
        return at + 1


def _first_refused(text: str) -> JsonError | None:
    """The first thing that no other parser accepts: a level too deep, or a number that is none.

    In one pass: who gets here has a text that is not valid, whatever its size.
    """
    at, depth, length = 0, 0, len(text)
    while at < length:
        match text[at]:
            case '"':
                end = _string_end(text, at)
                if end < 0:
                    return None
                at = end
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    what = f"it nests deeper than {MAX_DEPTH} levels"
                    return JsonError("manifest-nesting", JsonFault(at, what, "flatten it"))
            case "}" | "]":
                depth -= 1
            case "N" | "I" | "-" as first:
                word = next((word for word in _WORDS[first] if text.startswith(word, at)), None)
                if word is not None:
                    fault = JsonFault(at, f"{word} is not a JSON value", "write a number or null")
                    return JsonError("manifest-syntax", fault)
        at += 1
    return None


def _string_end(text: str, at: int) -> int:
    """Where the string that begins at `at` is closed; -1 where it is not."""
    end = text.find('"', at + 1)
    while end >= 0:
        before = end - 1
        while text[before] == "\\":
            before -= 1
        if (end - before) % 2:
            return end
        end = text.find('"', end + 1)
    return -1


def _nests_too_deep(value: object) -> bool:
    """Whether lists and objects stand in each other more than MAX_DEPTH levels deep."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def explain_syntax_error(text: str, error: json.JSONDecodeError) -> JsonFault:
    """Translate the parser's error about `text`."""
    for beginning, words in _BY_MESSAGE.items():
        if error.msg.startswith(beginning):
            return JsonFault(error.pos, *words)
    at = skip_space(text, error.pos)
    if not text.strip():
        return JsonFault(0, *_EMPTY)
    if at == len(text):
        return JsonFault(at, *_SHORT)
    if (comma := _trailing_comma(text, at)) is not None:
        return JsonFault(comma, *_COMMA)
    otherwise = (f"unexpected {text[at]!r}", "write a JSON value in its place")
    return JsonFault(
        at, *(_BY_CHARACTER.get(text[at]) or _BY_DELIMITER.get(error.msg) or otherwise)
    )


def skip_space(text: str, at: int) -> int:
    """Offset of the first character from `at` on that is no JSON white space."""
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _trailing_comma(text: str, at: int) -> int | None:
    """Python 3.13 points at the comma, older ones at the bracket behind it."""
    if text[at] == ",":
        after = skip_space(text, at + 1)
        return at if text[after : after + 1] in {"}", "]"} else None
    before = text[:at].rstrip()
    return len(before) - 1 if text[at] in "}]" and before.endswith(",") else None
