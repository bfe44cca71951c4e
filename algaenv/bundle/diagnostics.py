"""What is wrong with a file an author wrote, and where.

Complaints are collected, not raised one by one, so that an author sees all of them at once.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from algaenv.bundle.value import dataclass

MAX_QUOTE = 60

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
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


def sort_by_position(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sort by place, keeping the order of discovery within one."""
    return tuple(sorted(diagnostics, key=lambda it: (it.file, it.line or 0, it.column or 0)))


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether anything here is more than a warning."""
    return any(diagnostic.severity == "error" for diagnostic in diagnostics)


def format_diagnostics(diagnostics: Iterable[Diagnostic]) -> str:
    """All of them, one below the other."""
    return "\n".join(map(str, diagnostics))


def escape_unprintable(text: str) -> str:
    """Escape what a terminal could not show, or would obey."""
    return "".join(
        it if it.isprintable() else it.encode("unicode_escape").decode("ascii") for it in text
    )


def quoted(text: str) -> str:
    """Quote an author's words, cut to a length that fits into a sentence."""
    return f'"{text}"' if len(text) <= MAX_QUOTE else f'"{text[:MAX_QUOTE]}…"'


class LineIndex:
    """Where the lines of a text begin: found once, since a text can have a complaint on each."""

    def __init__(self, text: str) -> None:
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def place(self, offset: int) -> tuple[int, int]:
        """The line and the column of an offset into the text, both from 1."""
        line = bisect_left(self._breaks, offset)
        return line + 1, offset - (self._breaks[line - 1] if line else -1)


# MERGED filefindings: Gathers complaints about the files of a source directory.
#
# Names come from a disk and may hold anything; here they are made fit to be shown.


class FileReport:
    """Complaints, each about one path."""

    def __init__(self) -> None:
        self._diagnostics: list[Diagnostic] = []

    def error(
        self, code: str, path: Path, summary: str, hint: str, place: tuple[int, int] | None = None
    ) -> None:
        """Complain about a file, or about a line and column in it."""
        line, column = place or (None, None)
        self.add(Diagnostic(code, summary, hint, printable_path(path), line, column))

    def warn(self, code: str, path: Path, summary: str, hint: str) -> None:
        """Say that a file will not do what it seems to."""
        self.add(Diagnostic(code, summary, hint, printable_path(path), severity="warning"))

    def unreadable(self, path: Path, why: str) -> None:
        """Complain that the operating system keeps a file or directory closed."""
        self.error(
            "source-unreadable",
            path,
            f"cannot read {shown(path.name)}: {why}",
            "let the current user read it",
        )

    def add(self, *diagnostics: Diagnostic) -> None:
        """Take over what others found."""
        self._diagnostics += diagnostics

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All of them, by place, each once."""
        return sort_by_position(dict.fromkeys(self._diagnostics))


def printable_path(path: Path | str) -> str:
    """Spell a path so that a terminal can show it, with its undecodable bytes escaped."""
    return escape_unprintable(os.fsencode(path).decode("utf-8", "backslashreplace"))


# MERGED refusal: Why an archive is not unpacked.


class ArchiveError(Exception):
    """The archive is damaged or hostile. `code` is stable; `summary` starts with "cannot "."""

    def __init__(self, code: str, summary: str) -> None:
        super().__init__(summary)
        self.code = code
        self.summary = summary
