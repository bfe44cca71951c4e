"""Gathers complaints about the files of a source directory.

Names come from a disk and may hold anything; here they are made fit to be shown.
"""

from __future__ import annotations

import os
from pathlib import Path

from algaenv.bundle.complaint import Complaint, in_order, visible


class FileFindings:
    """Complaints, each about one path."""

    def __init__(self) -> None:
        self._complaints: list[Complaint] = []

    def error(
        self, code: str, path: Path, summary: str, hint: str, place: tuple[int, int] | None = None
    ) -> None:
        """Complain about a file, or about a line and column in it."""
        line, column = place or (None, None)
        self.add(Complaint(code, summary, hint, shown(path), line, column))

    def warn(self, code: str, path: Path, summary: str, hint: str) -> None:
        """Say that a file will not do what it seems to."""
        self.add(Complaint(code, summary, hint, shown(path), severity="warning"))

    def unreadable(self, path: Path, why: str) -> None:
        """Complain that the operating system keeps a file or directory closed."""
        self.error(
            "source-unreadable",
            path,
            f"cannot read {shown(path.name)}: {why}",
            "let the current user read it",
        )

    def add(self, *complaints: Complaint) -> None:
        """Take over what others found."""
        self._complaints += complaints

    def complaints(self) -> tuple[Complaint, ...]:
        """All of them, by place, each once."""
        return in_order(dict.fromkeys(self._complaints))


def shown(path: Path | str) -> str:
    """Spell a path so that a terminal can show it, with its undecodable bytes escaped."""
    return visible(os.fsencode(path).decode("utf-8", "backslashreplace"))
