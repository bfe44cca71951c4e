"""Writing to streams: to one whose reader may have gone, and to one in the middle of a write."""

from __future__ import annotations

import contextlib
import os
from typing import Any, TextIO


class TolerantStream:
    """A stream that a full disk cannot make fail: what cannot be written is dropped.

    `error` is the first thing that went wrong. A reader that went away is told by BrokenPipeError,
    as ever: see `push`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """As that of a text stream."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """As that of a text stream."""
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


def write_text(stream: TextIO, text: str = "") -> None:
    """Write and flush; when nobody reads any more (`… | head -1`), fall silent for good."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _silence(stream)


def write_from_signal(stream: TextIO, text: str) -> None:
    """Write from a signal handler: past Python's buffers, since one may be half written."""
    with contextlib.suppress(OSError):
        os.write(stream.fileno(), text.encode())


def _silence(stream: TextIO) -> None:
    """Let it lead nowhere, so that what its buffer still holds does not fail again."""
    with contextlib.suppress(OSError):
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, stream.fileno())
        os.close(silent)
