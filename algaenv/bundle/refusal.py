"""Why an archive is not unpacked."""

from __future__ import annotations


class ArchiveError(Exception):
    """The archive is damaged or hostile. `code` is stable; `summary` starts with "cannot "."""

    def __init__(self, code: str, summary: str) -> None:
        super().__init__(summary)
        self.code = code
        self.summary = summary
