"""Reduces the events of a run to one state: which steps run, ended or wait, and for what.

Pure: the caller passes the time. Both views of a run use it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.event import (
    Event,
    Planned,
    Report,
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
from algaenv.model.plan import Step
from algaenv.model.problem import Problem


class Phase(enum.StrEnum):
    """The phase of a step; the last five are the values of `StepEnded.outcome`."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    CUT_SHORT = "cut-short"

    @property
    def over(self) -> bool:
        """True once no further event will follow."""
        return self not in {Phase.WAITING, Phase.RUNNING}


@dataclass(frozen=True, slots=True)
class StepRow:
    """The state of one step. `started` is on the clock of `reduce`; `seconds` is final."""

    step: Step
    phase: Phase = Phase.WAITING
    started: float = 0.0
    seconds: float = 0.0
    note: str = ""
    """Its latest progress, or the latest answer of its probe."""
    problem: Problem | None = None

    @property
    def address(self) -> Address:
        """The address of the step."""
        return self.step.address


@dataclass(frozen=True, slots=True)
class ResolvingRow:
    """Something that is resolved before the plan; `seconds` is None while that goes on."""

    subject: str
    what: str
    started: float
    note: str = ""
    answer: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """The state of a run. `index` maps an address to its position in `rows`."""

    runtime: str = ""
    why: str = ""
    resolving: tuple[ResolvingRow, ...] = ()
    rows: tuple[StepRow, ...] = ()
    index: Mapping[Address, int] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    report: Report | None = None

    def row(self, address: Address) -> StepRow | None:
        """The row of an address, if it has one."""
        position = self.index.get(address)
        return None if position is None else self.rows[position]

    def count(self, *phases: Phase) -> int:
        """How many rows are in one of these phases."""
        return sum(row.phase in phases for row in self.rows)

    def blocked_on(self, row: StepRow) -> StepRow | None:
        """The step that `row` waits for; for a skipped need, the failure it goes back to."""
        for need in sorted(row.step.needs):
            other = self.row(need)
            if other is not None and other.phase is not Phase.DONE:
                root = self.blocked_on(other) if other.phase is Phase.SKIPPED else None
                return root or other
        return None


def reduce(state: RunState, event: Event, at: float) -> RunState:
    """The state after `event`, received at `at` seconds of a monotonic clock."""
    match event:
        case RuntimeChosen(runtime, why):
            return replace(state, runtime=runtime, why=why)
        case Resolving(subject, what):
            return replace(state, resolving=(*state.resolving, ResolvingRow(subject, what, at)))
        case Resolved(subject, answer, seconds):
            return _resolved(state, subject, answer, seconds, at)
        case Planned(steps):
            return _planned(state, steps)
        case StepStarted(step):
            return _put(state, StepRow(step, Phase.RUNNING, started=at))
        case StepProgress(address, note):
            return _noted(state, address, note)
        case StepWaiting(address, last, _):
            return _noted(state, address, last)
        case StepEnded(step, outcome, seconds, problem):
            begun = state.row(step.address)
            started = begun.started if begun else at
            row = StepRow(step, Phase(outcome), started, seconds, problem=problem)
            return _put(state, row)
        case Warned(problem):
            return replace(state, warnings=(*state.warnings, problem))
        case Reported(report):
            return replace(state, report=report)


def _put(state: RunState, row: StepRow) -> RunState:
    """Replace the row with the same address, or append."""
    position = state.index.get(row.address)
    if position is None:
        index = {**state.index, row.address: len(state.rows)}
        return replace(state, rows=(*state.rows, row), index=index)
    rows = (*state.rows[:position], row, *state.rows[position + 1 :])
    return replace(state, rows=rows)


def _planned(state: RunState, steps: tuple[Step, ...]) -> RunState:
    """A newer plan replaces the steps of the older one that have not begun."""
    begun = tuple(row for row in state.rows if row.phase is not Phase.WAITING)
    known = {row.address for row in begun}
    rows = (*begun, *(StepRow(step) for step in steps if step.address not in known))
    return replace(state, rows=rows, index={row.address: n for n, row in enumerate(rows)})


def _noted(state: RunState, address: Address, note: str) -> RunState:
    row = state.row(address)
    if row is not None and row.phase is Phase.RUNNING:
        return _put(state, replace(row, note=note))
    subject = str(address)
    resolving = tuple(
        replace(one, note=note) if one.subject == subject and one.seconds is None else one
        for one in state.resolving
    )
    return replace(state, resolving=resolving)


def _resolved(state: RunState, subject: str, answer: str, seconds: float, at: float) -> RunState:
    """Resolved events without a Resolving one get a row as well."""
    if not any(one.subject == subject and one.seconds is None for one in state.resolving):
        quick = ResolvingRow(subject, "", at, answer=answer, seconds=seconds)
        return replace(state, resolving=(*state.resolving, quick))
    resolving = tuple(
        replace(one, answer=answer, seconds=seconds)
        if one.subject == subject and one.seconds is None
        else one
        for one in state.resolving
    )
    return replace(state, resolving=resolving)
