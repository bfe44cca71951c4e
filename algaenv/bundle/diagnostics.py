"""Errors and warnings about the files of an extension, and the error for a refused archive.

Diagnostics are collected, not raised one by one, so that an author sees all of them at once.
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
    """One error or warning. `line` and `column` count from 1; None where they make no sense."""

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
    """Sort by file, line and column; stable."""
    return tuple(sorted(diagnostics, key=lambda it: (it.file, it.line or 0, it.column or 0)))


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether anything here is more than a warning."""
    return any(diagnostic.severity == "error" for diagnostic in diagnostics)


def format_diagnostics(diagnostics: Iterable[Diagnostic]) -> str:
    """All of them, one below the other."""
    return "\n".join(map(str, diagnostics))


def escape_unprintable(text: str) -> str:
    """Escape characters that a terminal cannot show or would interpret."""
    return "".join(
        it if it.isprintable() else it.encode("unicode_escape").decode("ascii") for it in text
    )


def quoted(text: str) -> str:
    """Quote `text`, truncated to MAX_QUOTE characters."""
    return f'"{text}"' if len(text) <= MAX_QUOTE else f'"{text[:MAX_QUOTE]}…"'


class LineIndex:
    """Offsets of line breaks, computed once: a text can have a diagnostic on every line."""

    def __init__(self, text: str) -> None:
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def position(self, offset: int) -> tuple[int, int]:
        """The line and the column of an offset into the text, both from 1."""
        line = bisect_left(self._breaks, offset)
        return line + 1, offset - (self._breaks[line - 1] if line else -1)


class FileReport:
    """Collects diagnostics about files."""

    def __init__(self) -> None:
        self._diagnostics: list[Diagnostic] = []

    def error(
        self,
        code: str,
        path: Path,
        summary: str,
        hint: str,
        position: tuple[int, int] | None = None,
    ) -> None:
        """Add an error about a file, or about a line and column in it."""
        line, column = position or (None, None)
        self.add(Diagnostic(code, summary, hint, printable_path(path), line, column))

    def warn(self, code: str, path: Path, summary: str, hint: str) -> None:
        """Add a warning about a file."""
        self.add(Diagnostic(code, summary, hint, printable_path(path), severity="warning"))

    def unreadable(self, path: Path, why: str) -> None:
        """Add an error about a file or directory that cannot be read."""
        self.error(
            "source-unreadable",
            path,
            f"cannot read {printable_path(path.name)}: {why}",
            "let the current user read it",
        )

    def add(self, *diagnostics: Diagnostic) -> None:
        """Add diagnostics found elsewhere."""
        self._diagnostics += diagnostics

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All of them, by position, each once."""
        return sort_by_position(dict.fromkeys(self._diagnostics))


def printable_path(path: Path | str) -> str:
    """Format a path for a terminal; unprintable characters and undecodable bytes are escaped."""
    return escape_unprintable(os.fsencode(path).decode("utf-8", "backslashreplace"))


class ArchiveError(Exception):
    """The archive is damaged or hostile. `code` is stable; `summary` starts with "cannot "."""

    def __init__(self, code: str, summary: str) -> None:
        super().__init__(summary)
        self.code = code
        self.summary = summary
