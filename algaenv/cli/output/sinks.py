"""Event sinks: their interface, the one that forwards to several, and the log of an environment.

The log holds every event of each run that changed something or failed. A run that changes nothing
writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

from algaenv.cli.output.escape import escape_json, escape_text
from algaenv.cli.output.json import event_to_json
from algaenv.model.event import Event, Reported, StepEnded, StepStarted
from algaenv.system.clock import rfc3339

MAX_BYTES = 1 << 20
"""Size at which a log is rotated; one older log is kept."""


class Sink(Protocol):
    """Receives the events of a run, one at a time, from any thread."""

    def emit(self, event: Event) -> None:
        """Handle one event."""
        ...

    def stopping(self) -> None:
        """The run was asked to stop. May be called in a signal handler: takes no lock."""
        ...

    def close(self) -> None:
        """Finish the output; no event follows. May be called twice."""
        ...


class MultiSink:
    """Forwards every event to every sink.

    A sink that cannot write (its reader is gone, the disk is full) is dropped; the run goes on.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def emit(self, event: Event) -> None:
        """Forward to every sink."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)
            except OSError:
                self._sinks.remove(sink)
                with contextlib.suppress(OSError):
                    sink.close()

    def stopping(self) -> None:
        """Forward to every sink."""
        for sink in tuple(self._sinks):
            with contextlib.suppress(OSError):
                sink.stopping()

    def close(self) -> None:
        """Close every sink."""
        for sink in tuple(self._sinks):
            with contextlib.suppress(OSError):
                sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def environment_log_path(spec: Path) -> Path | None:
    """`logs/algaenv.log` in the environment's state directory; None while that does not exist."""
    from algaenv.drivers.state.state_dir import identify

    home = identify(spec, "").home
    return home / "logs" / "algaenv.log" if os.path.isdir(home) else None  # noqa: PTH112 - never raises


def user_log_path(environ: Mapping[str, str]) -> Path:
    """The log of tracebacks without an environment: `$XDG_STATE_HOME/algaenv`."""
    state = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "algaenv" / "algaenv.log"


def open_log(path: Path) -> TextIO:
    """Open the log at its end, mode 0600; rotates a large one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_BYTES:  # logging's handlers cost a slow import
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600)
    return path.open("a", encoding="utf-8", errors="backslashreplace")


class LogFile:
    """Buffers events until one is worth logging, then writes them all, and each that follows."""

    def __init__(self, verb: str, spec: Path) -> None:
        self._verb = verb
        self._spec = spec
        self._buffer: list[str] = []
        self._file: TextIO | None = None
        self.path: Path | None = None
        """The file; None while nothing was written."""

    def emit(self, event: Event) -> None:
        """Buffer the event, or write it."""
        self._buffer.append(f"{stamp(self._verb)} {_event_line(event)}\n")
        if self._file is None and _is_notable(event):
            self._open()
        if self._file is not None:
            self._file.writelines(self._buffer)
            self._file.flush()
            self._buffer.clear()

    def _open(self) -> None:
        """A run that fails before there is a state directory leaves no log."""
        path = environment_log_path(self._spec)
        if path is not None:
            self._file = open_log(path)
            self.path = path

    def stopping(self) -> None:
        """Nothing to do; the report says it."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._buffer.clear()


def log_traceback(
    verb: str, spec: Path | None, environ: Mapping[str, str], text: str
) -> Path | None:
    """Append a traceback to a log; returns its path, None when it cannot be written."""
    try:
        path = (environment_log_path(spec) if spec else None) or user_log_path(environ)
        with open_log(path) as file:
            file.write(f"{stamp(verb)} traceback\n{escape_text(text)}")
    except OSError:
        return None
    return path


def stamp(verb: str) -> str:
    """The prefix of every entry: the time in UTC, the verb and the process id."""
    return f"{rfc3339()} {verb}[{os.getpid()}]"


def _event_line(event: Event) -> str:
    return escape_json(json.dumps(event_to_json(event), ensure_ascii=False))


def _is_notable(event: Event) -> bool:
    match event:
        case StepStarted(step):
            return not step.only_waits
        case StepEnded(problem=problem):
            return problem is not None
        case Reported(report):
            return bool(report.failed or report.interrupted)
        case _:
            return False
