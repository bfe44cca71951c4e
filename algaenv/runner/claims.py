"""Claims to names, each of which one process can have at a time.

A claim is a locked byte of one file that has none, at the place that the name says. So there is
nothing to make and nothing to clear away, and a claim is gone with its process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_FLOCK = struct.Struct("hhqqi4x")
_BYTES = 7
"""Of the name: the first give a place that a file can have."""


class Claims:
    """What this process claims through one file. The methods raise OSError."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def take(self, name: bytes) -> bool:
        """Claim a name unless another process has; must not be ours already."""
        try:
            self._set(name, fcntl.F_WRLCK)
        except BlockingIOError:
            return False
        return True

    def give(self, name: bytes) -> None:
        """Let go of a claim."""
        self._set(name, fcntl.F_UNLCK)

    def close(self) -> None:
        """Let go of all claims."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _set(self, name: bytes, kind: int) -> None:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._file, flags, 0o600)
        place = int.from_bytes(name[:_BYTES])
        # The lock is of the open file, not of the process: others may open it and close it.
        fcntl.fcntl(
            self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)
        )
