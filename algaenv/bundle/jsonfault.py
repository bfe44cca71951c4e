"""What is wrong with a text that is not JSON, in words that do not change with the Python version.

The standard parser's messages do, and they speak of delimiters and expectations where an author
wrote a comment or one comma too many.
"""

from __future__ import annotations

import json
import re

from algaenv.bundle.value import dataclass

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
class Fault:
    """Where, why, and what to do about it."""

    offset: int
    what: str
    hint: str


def explain(text: str, error: json.JSONDecodeError) -> Fault:
    """Word the parser's complaint about `text`."""
    for beginning, words in _BY_MESSAGE.items():
        if error.msg.startswith(beginning):
            return Fault(error.pos, *words)
    at = skip_space(text, error.pos)
    if not text.strip():
        return Fault(0, *_EMPTY)
    if at == len(text):
        return Fault(at, *_SHORT)
    if (comma := _trailing_comma(text, at)) is not None:
        return Fault(comma, *_COMMA)
    otherwise = (f"unexpected {text[at]!r}", "write a JSON value in its place")
    return Fault(at, *(_BY_CHARACTER.get(text[at]) or _BY_DELIMITER.get(error.msg) or otherwise))


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
