"""Splits a file of SQL into its statements, each with its place, as psql does.

The server reports where in a statement an error is, and of most errors not even that. So each
statement is sent by itself, and its place in the file is known. See docs/decisions/0019.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from algaenv.bundle.value import dataclass

_TOKEN: Final = re.compile(
    r"(?P<skip>\s+|--[^\n]*+)"
    r"|(?P<comment>/\*)"
    r"|(?P<text>[eE]'(?:[^'\\]++|\\.|'')*+'|'(?:[^']++|'')*+'|\"(?:[^\"]++|\"\")*+\")"
    r"|(?P<dollar>\$(?:[^\W\d]\w*+)?\$)"
    r"|(?P<word>[^\W\d][\w$]*+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_ENDS_TRANSACTION: Final = frozenset(
    ("abort", "begin", "commit", "end", "rollback", "start transaction", "prepare transaction")
)
_ROUTINES: Final = frozenset(("function", "procedure"))
_FIRST_WORDS: Final = 4
"""`CREATE OR REPLACE FUNCTION` has so many."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement without the semicolon at its end. `offset` counts characters of the file."""

    text: str
    offset: int

    @property
    def refusal(self) -> tuple[str, str] | None:
        """Why it can be no part of a seed, and what to do; None when it can."""
        words = [it.lower() for it in re.findall(r"[^\W\d]\w*", self.text[:400])]
        if self.text.startswith("\\"):
            return "commands of psql are not known here", "delete it: only SQL is applied"
        if not words:
            return None
        if words[0] in _ENDS_TRANSACTION or " ".join(words[:2]) in _ENDS_TRANSACTION:
            if words[:2] == ["rollback", "to"]:
                return None
            reason = "each file is one transaction already"
            return f"{words[0].upper()} cannot stand here: {reason}", "delete it"
        if words[0] == "copy" and re.search(r"\bFROM\s+STDIN\b", self.text, re.IGNORECASE):
            return (
                "COPY FROM STDIN needs psql",
                "write INSERT: pg_dump does with `--inserts --rows-per-insert=100`",
            )
        return None


def split_statements(text: str) -> Iterator[Statement]:
    """The statements of a file, in their order; what is not closed goes to the last one."""
    start: int | None = None
    parentheses = blocks = 0
    words: list[str] = []
    for kind, begin, end in _tokens(text):
        symbol = text[begin] if kind == "other" else ""
        if symbol == ";" and not parentheses and not blocks:
            if start is not None:
                yield Statement(text[start:begin].rstrip(), start)
            start, words = None, []
            continue
        if kind == "command":
            yield Statement(text[begin:end].rstrip(), begin)
            continue
        start = begin if start is None else start
        if kind == "word":
            word = text[begin:end].lower()
            if len(words) < _FIRST_WORDS:
                words.append(word)
            if words[0] == "create" and not _ROUTINES.isdisjoint(words):
                blocks = _blocks(word, blocks)
        elif symbol and symbol in "()":
            parentheses = max(0, parentheses + (1 if symbol == "(" else -1))
    if start is not None:
        yield Statement(text[start:].rstrip(), start)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The place of a character, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, begin and end of what is neither space nor comment.

    A text in dollars is one token. A line that begins with a backslash is a command of psql.
    """
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        assert token is not None  # noqa: S101 - the last alternative takes any character
        kind, begin, at = str(token.lastgroup), at, token.end()
        if kind == "comment":
            at = _comment_end(text, at)
            continue
        if kind == "dollar":
            close = text.find(token[0], at)
            at = len(text) if close < 0 else close + len(token[0])
        elif token[0] == "\\" and text[:begin].rpartition("\n")[2].strip() == "":
            kind, at = "command", text.find("\n", at) + 1 or len(text)
        if kind != "skip":
            yield kind, begin, at


def _comment_end(text: str, at: int) -> int:
    """Where a comment ends whose first two characters end at `at`; comments nest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, at)
        if edge is None:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at


def _blocks(word: str, blocks: int) -> int:
    """How deep the body of a routine nests after a word: `BEGIN ATOMIC … CASE … END … END`."""
    if word == "begin" or (word == "case" and blocks):
        return blocks + 1
    return max(0, blocks - 1) if word == "end" else blocks
