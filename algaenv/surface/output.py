"""Writing to streams: to one whose reader may have gone, and to one in the middle of a write."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


def push(stream: TextIO, text: str = "") -> None:
    """Write and flush; when nobody reads any more (`… | head -1`), fall silent for good."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, stream.fileno())
            os.close(silent)


def cut_in(stream: TextIO, text: str) -> None:
    """Write from a signal handler: past Python's buffers, since one may be half written."""
    with contextlib.suppress(OSError):
        os.write(stream.fileno(), text.encode())
