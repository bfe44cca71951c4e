"""What is wrong with a file an author wrote, and where.

Complaints are collected, not raised one by one, so that an author sees all of them at once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal

from algaenv.bundle.value import dataclass

MAX_QUOTE = 60

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One finding. `line` and `column` count from 1; None where a place makes no sense."""

    code: str
    summary: str
    hint: str
    file: str
    line: int | None = None
    column: int | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.severity}: {self.summary} [{self.code}]\n    {self.hint}"


def in_order(complaints: Iterable[Complaint]) -> tuple[Complaint, ...]:
    """Sort by place, keeping the order of discovery within one."""
    return tuple(sorted(complaints, key=lambda it: (it.file, it.line or 0, it.column or 0)))


def has_errors(complaints: Iterable[Complaint]) -> bool:
    """Whether anything here is more than a warning."""
    return any(complaint.severity == "error" for complaint in complaints)


def listing(complaints: Iterable[Complaint]) -> str:
    """All of them, one below the other."""
    return "\n".join(map(str, complaints))


def visible(text: str) -> str:
    """Escape what a terminal could not show, or would obey."""
    return "".join(
        it if it.isprintable() else it.encode("unicode_escape").decode("ascii") for it in text
    )


def quoted(text: str) -> str:
    """Quote an author's words, cut to a length that fits into a sentence."""
    return f'"{text}"' if len(text) <= MAX_QUOTE else f'"{text[:MAX_QUOTE]}…"'


class Lines:
    """Where the lines of a text begin: found once, since a text can have a complaint on each."""

    def __init__(self, text: str) -> None:
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def place(self, offset: int) -> tuple[int, int]:
        """The line and the column of an offset into the text, both from 1."""
        line = bisect_left(self._breaks, offset)
        return line + 1, offset - (self._breaks[line - 1] if line else -1)
