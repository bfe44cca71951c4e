"""A limit on the time of a whole run: once it is over, the run ends as after an interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from algaenv.bundle.value import replace
from algaenv.model.event import (
    Emit,
    Event,
    Report,
    Resolved,
    Resolving,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
)
from algaenv.model.problem import NotReady, Problem


class TimeLimit:
    """Follows the events of a run, so that it can say what the run was waiting for.

    `seconds` counts from now; `cancelled` is the interrupt of the caller, and `emit` its sink.
    """

    def __init__(
        self,
        seconds: float,
        cancelled: Callable[[], bool],
        emit: Emit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._until = clock() + seconds
        self._interrupted = cancelled
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[str, str] = {}
        self._waited_for: tuple[str, ...] | None = None
        """What was under way when the time was over; None before."""

    def emit(self, event: Event) -> None:
        """Note what is under way, and pass the event on."""
        with self._lock:
            match event:
                case Resolving(subject, what):
                    self._under_way[subject] = what
                case Resolved(subject):
                    self._under_way.pop(subject, None)
                case StepStarted(step):
                    self._under_way[str(step.address)] = ""
                case StepWaiting(address, note) | StepProgress(address, note):
                    self._under_way[str(address)] = note
                case StepEnded(step):
                    self._under_way.pop(str(step.address), None)
                case _:
                    pass
        self._emit(event)

    def cancelled(self) -> bool:
        """Whether the caller has interrupted the run, or its time is over."""
        if self._interrupted():
            return True
        if self._clock() < self._until:
            return False
        with self._lock:
            if self._waited_for is None:
                self._waited_for = tuple(
                    f"{subject}: {note}" if note else subject
                    for subject, note in self._under_way.items()
                )
        return True

    def applied(self, report: Report) -> Report:
        """The report as one of a run that was not ready in time, if this is what ended it."""
        if not report.interrupted or self._waited_for is None or self._interrupted():
            return report
        return replace(
            report,
            interrupted=False,
            problems=(*report.problems, self._problem(self._waited_for)),
            error=report.error or NotReady.__name__,
        )

    def _problem(self, waited_for: tuple[str, ...]) -> Problem:
        names = ", ".join(line.partition(": ")[0] for line in waited_for)
        return Problem(
            code="up-timeout",
            summary=f"cannot bring it up within {self._seconds:g} s"
            + (f": it was waiting for {names}" if names else ""),
            hint="run `algaenv up` again, which goes on from what is there, or raise "
            "`--wait-timeout`",
            detail=waited_for,
        )
