"""Log records as JSON objects, one a line, written a few at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import TextIO

_BATCH_SECONDS = 0.02

_encode = json.JSONEncoder(default=str).encode


class JsonLines(logging.Formatter):
    """Formats a record as one line; `extra={"fields": {…}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC, milliseconds), level, event, fields, and a traceback if there is one."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line.update(fields)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line)


class Batches(logging.Handler):
    """Writes the lines of a few milliseconds at once: a busy service waits for one write, not many.

    Warnings and worse, and whatever is said outside of the event loop, do not wait.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []
        self._due = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, and see that it is written soon."""
        self._lines.append(f"{self.format(record)}\n")
        if record.levelno >= logging.WARNING:
            self.flush()
        elif not self._due:
            try:
                asyncio.get_running_loop().call_later(_BATCH_SECONDS, self._tick)
                self._due = True
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Write what is kept; also called at the end of the process."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            # Nobody may be left to read, or the stream be closed: no reason to fail.
            with suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()

    def _tick(self) -> None:
        self._due = False
        self.flush()
