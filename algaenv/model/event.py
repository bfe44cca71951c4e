"""What is happening, typed, for whoever watches: numbers and addresses, never sentences."""

from __future__ import annotations

from collections.abc import Callable

from algaenv.bundle.value import dataclass
from algaenv.model.address import Address
from algaenv.model.outcome import Report
from algaenv.model.plan import Step
from algaenv.model.problem import Problem


@dataclass(frozen=True, slots=True)
class RuntimeChosen:
    """Which runtime serves this run, and why."""

    runtime: str
    why: str


@dataclass(frozen=True, slots=True)
class Resolving:
    """An unknown is being settled: a build runs, a bundle is packed, a registry is asked."""

    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """It is settled; `answer` in one phrase."""

    subject: str
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan was drawn; `steps` in order. It may be drawn again once hosts answer."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A step has something to say: a layer pulled, a build line, the try number."""

    address: Address
    note: str


@dataclass(frozen=True, slots=True)
class StepWaiting:
    """A probe has not passed yet; `last` is its latest answer."""

    address: Address
    last: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step ended: `done`, `failed`, `skipped`, `cancelled` or `cut-short`."""

    step: Step
    outcome: str
    seconds: float
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the author should know that stops nothing."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Reported:
    """The last event of every run."""

    report: Report


Event = (
    RuntimeChosen
    | Resolving
    | Resolved
    | Planned
    | StepStarted
    | StepProgress
    | StepWaiting
    | StepEnded
    | Warned
    | Reported
)
Emit = Callable[[Event], None]
