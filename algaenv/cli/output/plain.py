"""The plain view of a run: one line a step that ended. For pipes, CI and dumb terminals."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from algaenv.cli.output.escape import escape_controls, render_problem
from algaenv.cli.output.lines import (
    STOPPING,
    abandoned_lines,
    deserves_line,
    duration,
    resolved_line,
    step_line,
    summary_lines,
)
from algaenv.cli.output.reducer import ResolvingRow, RunState, reduce
from algaenv.cli.output.streams import write_from_signal
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.event import (
    Event,
    Reported,
    Resolved,
    Resolving,
    RuntimeChosen,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
    Warned,
)
from algaenv.model.kind import Address

WAITING_INTERVAL = 5.0
"""Seconds between two lines about the same wait."""


class PlainView:
    """Writes lines as events arrive; never redraws."""

    def __init__(
        self,
        stream: TextIO,
        paint: Paint = PLAIN,
        *,
        quiet: bool = False,
        verbose: bool = False,
        log: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._paint = paint
        self._quiet = quiet
        self._verbose = verbose
        self._log = log
        self._clock = clock
        self._started = clock()
        self._state = RunState()
        self._closed = False
        self._last_waiting: dict[Address, float] = {}

    def emit(self, event: Event) -> None:
        """Write the lines of an event. Events of abandoned threads after `close` are dropped."""
        if self._closed:
            return
        event = escape_controls(event)
        self._state = reduce(self._state, event, self._clock())
        lines = self._urgent(event)
        if not self._quiet:
            lines += self._lines(event)
        self._write(lines)

    def stopping(self) -> None:
        """Acknowledge the interrupt at once."""
        write_from_signal(self._stream, f"{STOPPING}\n")

    def close(self) -> None:
        """List the abandoned steps, if any."""
        if not self._closed:
            self._closed = True
            self._write(abandoned_lines(self._state, self._paint))

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()

    def _urgent(self, event: Event) -> list[str]:
        """Lines that are written even when quiet."""
        match event:
            case Warned(problem):
                return [render_problem(problem, self._paint, label="warning")]
            case Reported(report):
                took = self._clock() - self._started
                return summary_lines(
                    report,
                    took,
                    self._paint,
                    log=self._log(),
                    quiet=self._quiet,
                    explain=self._verbose,
                )
            case _:
                return []

    def _lines(self, event: Event) -> list[str]:
        match event:
            case RuntimeChosen(runtime, why):
                return [f"runtime {self._paint(runtime, 'bold')}: {why}"]
            case Resolving(subject, what):
                return [self._paint(f"  {subject}: {what} …", "dim")]
            case Resolved(subject):
                return [resolved_line(one, self._paint) for one in self._just_resolved(subject)]
            case StepEnded(step):
                row = self._state.row(step.address)
                if row is not None and deserves_line(row, verbose=self._verbose):
                    return [step_line(row, self._state, self._paint, verbose=self._verbose)]
                return []
            case StepWaiting(address, last, seconds):
                return self._waiting(address, last, seconds)
            case StepStarted(step) if self._verbose:
                return [self._paint(f"  {step.verb} {step.address} …", "dim")]
            case StepProgress(address, note) if self._verbose:
                return [self._paint(f"  {address}: {note}", "dim")]
            case _:
                return []

    def _just_resolved(self, subject: str) -> list[ResolvingRow]:
        return [one for one in self._state.resolving if one.subject == subject][-1:]

    def _waiting(self, address: Address, last: str, seconds: float) -> list[str]:
        if seconds - self._last_waiting.get(address, 0.0) < WAITING_INTERVAL:
            return []
        self._last_waiting[address] = seconds
        return [self._paint(f"  waiting for {address}: {last} ({duration(seconds)})", "dim")]
