"""What is wrong with a file an author wrote, and where.

Complaints are collected, not raised one by one, so that an author sees all of them at once.
"""

from __future__ import annotations

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


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Turn an offset into `text` into a line and a column, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
