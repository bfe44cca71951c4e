"""The log of a service: rotated at a limit, and its last lines for diagnostics."""

from __future__ import annotations

import contextlib
import os
from typing import Final

LIMIT: Final = 5 * 1024 * 1024
"""Bytes in the current file; the one before it is kept as `<name>.1`."""


class LogFile:
    """Appends to a log; starts a new file when it is opened and when the current one is full.

    A full disk must not stop the service, so lines that cannot be written are dropped.
    """

    def __init__(self, path: str, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._size = 0
        self._descriptor: int | None = None
        self._rotate()

    def write(self, text: bytes) -> None:
        """Append `text` as it is."""
        if self._size + len(text) > self._limit and self._size:
            self._rotate()
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._size += os.write(self._descriptor, text)

    def _rotate(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with contextlib.suppress(OSError):
            os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 - pathlib is slow to import
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._path, flags, 0o600)
        self._size = 0


def tail(path: str, lines: int = 20, reach: int = 16384) -> tuple[str, ...]:
    """The last lines of a file, found in its last `reach` bytes; empty when it is not there."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - reach))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-lines:])
