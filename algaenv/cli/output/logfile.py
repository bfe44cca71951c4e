"""The story of every run that did something, kept in a file beside the environment.

A run that finds everything in place writes nothing at all, so that looking stays free of traces.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from algaenv.cli.output.escape import escape_json
from algaenv.cli.output.json import event_to_json
from algaenv.model.event import Event, Reported, StepEnded, StepStarted

MAX_BYTES = 1 << 20
"""Bytes after which a log is set aside; one older log is kept."""


def environment_log_path(spec: Path) -> Path | None:
    """`logs/algaenv.log` in the environment's home; None while there is no home."""
    from algaenv.drivers.home import identify

    home = identify(spec, "").home
    return home / "logs" / "algaenv.log" if os.path.isdir(home) else None  # noqa: PTH112 - never raises


def user_log_path(environ: Mapping[str, str]) -> Path:
    """Where a traceback goes that belongs to no environment: `$XDG_STATE_HOME/algaenv`."""
    state = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "algaenv" / "algaenv.log"


def append(path: Path) -> TextIO:
    """The log, opened at its end, readable by its owner only. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_BYTES:  # logging's handlers cost a slow import
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600)
    return path.open("a", encoding="utf-8", errors="backslashreplace")


class LogFile:
    """Holds events back until one of them matters, then writes them all, and each that follows."""

    def __init__(self, verb: str, spec: Path) -> None:
        self._verb = verb
        self._spec = spec
        self._held: list[str] = []
        self._file: TextIO | None = None
        self.path: Path | None = None
        """Where it is written; None while nothing was."""

    def emit(self, event: Event) -> None:
        """Keep it, or write it."""
        self._held.append(f"{stamp(self._verb)} {_told(event)}\n")
        if self._file is None and _matters(event):
            self._open()
        if self._file is not None:
            self._file.writelines(self._held)
            self._file.flush()
            self._held.clear()

    def _open(self) -> None:
        """A run that fails before there is a home leaves no log: its messages say it all."""
        path = environment_log_path(self._spec)
        if path is not None:
            self._file = append(path)
            self.path = path

    def stopping(self) -> None:
        """The report will say it."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._held.clear()


def log_traceback(
    verb: str, spec: Path | None, environ: Mapping[str, str], text: str
) -> Path | None:
    """Add a traceback to a log and say which; None when that cannot be written, either."""
    try:
        path = (environment_log_path(spec) if spec else None) or user_log_path(environ)
        with append(path) as file:
            file.write(f"{stamp(verb)} traceback\n{visible_text(text)}")
    except OSError:
        return None
    return path


def stamp(verb: str) -> str:
    """What every entry starts with: the time in UTC, the verb and the process."""
    now = time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{whole}.{int(now % 1 * 1000):03}Z {verb}[{os.getpid()}]"


def _told(event: Event) -> str:
    return escape_json(json.dumps(event_to_json(event), ensure_ascii=False))


def _matters(event: Event) -> bool:
    match event:
        case StepStarted(step):
            return step.writes
        case StepEnded(problem=problem):
            return problem is not None
        case Reported(report):
            return bool(report.failed or report.interrupted)
        case _:
            return False
