"""Writes to streams that may fail: closed readers, full disks, signal handlers."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


class TolerantStream:
    """A text stream that drops what cannot be written, as on a full disk.

    `error` is the first failure. A closed reader still raises BrokenPipeError: see `write_text`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """As of a text stream; never raises for a full disk."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """As of a text stream; never raises for a full disk."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._fail(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fail(self, error: OSError) -> None:
        self.error = self.error or error
        _silence(self._stream)


def write_text(stream: TextIO, text: str = "") -> bool:
    """Write and flush; after the reader has closed (`… | head -1`), discard everything.

    Returns False when it has just been found closed.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
        return False
    return True


def write_from_signal(stream: TextIO, text: str) -> None:
    """Write from a signal handler, past Python's buffers, which may be in the middle of a write."""
    with contextlib.suppress(OSError):
        os.write(stream.fileno(), text.encode())


def _silence(stream: TextIO) -> None:
    """Redirect to the null device, so that flushing the buffer does not fail again."""
    with contextlib.suppress(OSError):
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, stream.fileno())
        os.close(silent)
