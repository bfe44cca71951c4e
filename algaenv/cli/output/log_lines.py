"""Entries of logs as lines of text and of JSON."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from algaenv.cli.output.escape import escape_controls, escape_text
from algaenv.cli.output.json import VERSION, json_line
from algaenv.reconcile.log_records import entry_text
from algaenv.system.clock import rfc3339

if TYPE_CHECKING:
    from algaenv.cli.output.terminal import Paint
    from algaenv.model.log import LogEntry

ID_CHARS: Final = 8
"""Of a request id, which is enough to name it by."""
_STYLES: Final = {
    "store": ("yellow",),
    "redis": ("red",),
    "database": ("cyan",),
    "runner": ("green",),
    "gateway": ("green", "bold"),
}
_OTHER: Final = ("cyan", "bold")
"""Of extensions."""
_LEVELS: Final = {"error": ("red",), "warning": ("yellow",), "debug": ("dim",)}
_SEQUENCE: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Colours of a server that takes its log for a terminal: they are dropped."""


class LogLines:
    """Writes entries as lines: `12:00:01.234  runner   POST /v1/execute 200 …  [1a2b3c4d]`.

    `width` is that of the longest source.
    """

    def __init__(self, paint: Paint, width: int) -> None:
        self._paint = paint
        self._width = width
        self._day = ""

    def line(self, entry: LogEntry) -> str:
        """The line of an entry, with a line for the day before the first of another day."""
        paint = self._paint
        moment = time.localtime(entry.at)
        day = time.strftime("%Y-%m-%d", moment)
        lines = []
        if day != self._day:
            self._day = day
            lines.append(paint(f"-- {day} --", "dim"))
        source = escape_controls(entry.source).ljust(self._width)
        clock = time.strftime("%H:%M:%S", moment) + f".{int(entry.at * 1000) % 1000:03}"
        head = f"{paint(clock, 'dim')}  {paint(source, *_STYLES.get(entry.source, _OTHER))}  "
        if entry.kind == "gap":
            text = paint(f"-- {escape_controls(entry.message)} --", "yellow", "bold")
            return "\n".join([*lines, head + text]) + "\n"
        first, *further = self._text(entry).split("\n")
        text = paint(first, *_LEVELS.get(entry.level, ()))
        if entry.stream in ("stdout", "stderr"):
            text = f"{paint(f'{entry.stream}:', 'dim')} {text}"
        if entry.request_id:
            text += paint(f"  [{escape_controls(entry.request_id[:ID_CHARS])}]", "dim")
        lines.append((head + text).rstrip())
        lines += [" " * (14 + self._width) + f"| {it}" for it in further]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _text(entry: LogEntry) -> str:
        return escape_text(_SEQUENCE.sub("", entry_text(entry)).replace("\t", "    "))


def entry_to_json(entry: LogEntry) -> str:
    """The line of `logs --json`."""
    return json_line(
        {
            "version": VERSION,
            "time": rfc3339(int(entry.at * 1000)),
            "kind": entry.kind,
            "service": entry.service,
            "extension": entry.extension,
            "level": entry.level,
            "stream": entry.stream,
            "request_id": entry.request_id,
            "message": entry.message,
            "fields": dict(entry.fields),
        }
    )
