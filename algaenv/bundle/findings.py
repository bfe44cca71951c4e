"""Gathers complaints about one JSON text.

Rules name the value they mean by its path; where that stands is worked out only if there is
something to say, so that a manifest without faults costs one parse and no more.
"""

from __future__ import annotations

from algaenv.bundle.complaint import Complaint, Lines, Severity, in_order, quoted, visible
from algaenv.bundle.jsontext import Path, Places

_BYTE_ORDER_MARK = "\ufeff"


class Findings:
    """Complaints about `text`, which is kept without its byte-order mark."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text.removeprefix(_BYTE_ORDER_MARK)
        self._complaints: list[Complaint] = []
        self._places: Places | None = None
        self._lines: Lines | None = None
        if self.text != text:
            self.at_offset(
                0,
                "manifest-bom",
                "cannot read the manifest: it begins with a byte-order mark",
                "save it as UTF-8 without one",
            )

    def error(
        self, code: str, path: Path, summary: str, hint: str, *, at_key: bool = False
    ) -> None:
        """Complain about the value at `path`, or about its key."""
        self._add(code, path, summary, hint, "error", at_key=at_key)

    def warn(self, code: str, path: Path, summary: str, hint: str, *, at_key: bool = False) -> None:
        """Say that the value at `path`, or its key, will not do what it seems to."""
        self._add(code, path, summary, hint, "warning", at_key=at_key)

    def repeated_keys(self) -> None:
        """Complain about every key that an object writes twice."""
        for path, offset in self._where().repeated:
            self.at_offset(
                offset,
                "manifest-duplicate-key",
                f"cannot tell which {quoted(str(path[-1]))} is meant: the key is written twice",
                "remove one of them",
            )

    def at_offset(
        self, offset: int, code: str, summary: str, hint: str, severity: Severity = "error"
    ) -> None:
        """Complain about a place in the text."""
        if self._lines is None:
            self._lines = Lines(self.text)
        place = self._lines.place(offset)
        self._complaints.append(
            Complaint(code, visible(summary), visible(hint), self.file, *place, severity)
        )

    def complaints(self) -> tuple[Complaint, ...]:
        """All of them, by place."""
        return in_order(self._complaints)

    def _add(
        self, code: str, path: Path, summary: str, hint: str, severity: Severity, *, at_key: bool
    ) -> None:
        places = self._where()
        offset = places.keys[path] if at_key else places.values[path]
        self.at_offset(offset, code, summary, hint, severity)

    def _where(self) -> Places:
        if self._places is None:
            self._places = Places.of(self.text)
        return self._places
