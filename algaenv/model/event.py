"""What is happening, typed, for whoever watches: numbers and addresses, never sentences."""

from __future__ import annotations

from collections.abc import Callable

from algaenv.bundle.value import dataclass
from algaenv.model.address import Address
from algaenv.model.plan import Kept, Step
from algaenv.model.problem import Problem
from algaenv.model.status import Status


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


# MERGED outcome: How each step ended, and all of them as one value.


@dataclass(frozen=True, slots=True)
class Done:
    """It ended well."""


@dataclass(frozen=True, slots=True)
class FailedStep:
    """It ended badly; `error` is the exception's class name, for the exit code."""

    problem: Problem
    error: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """It was not tried, since `because` did not end well."""

    because: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was not tried, since the run was interrupted."""


@dataclass(frozen=True, slots=True)
class CutShort:
    """It was begun, and the run was interrupted while its answer was waited for."""


Outcome = Done | FailedStep | Skipped | Cancelled | CutShort


def outcome_name(outcome: Outcome) -> str:
    """`done`, `failed`, `skipped`, `cancelled` or `cut-short`."""
    match outcome:
        case Done():
            return "done"
        case FailedStep():
            return "failed"
        case Skipped():
            return "skipped"
        case Cancelled():
            return "cancelled"
        case CutShort():
            return "cut-short"


@dataclass(frozen=True, slots=True)
class Ended:
    """A step, how it ended, and the seconds it took."""

    step: Step
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a run did; the exit code follows from it alone."""

    verb: str
    ended: tuple[Ended, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What stopped the run outside of any step."""
    error: str = ""
    """The class name of the exception behind `problems`, empty when there is none."""
    kept: tuple[Kept, ...] = ()
    interrupted: bool = False
    status: Status | None = None
    """What there is after an `up` that ended well, known without looking again."""

    @property
    def changed(self) -> int:
        """How many writing steps were done."""
        return sum(e.step.writes and isinstance(e.outcome, Done) for e in self.ended)

    @property
    def failed(self) -> int:
        """How many steps failed, awaits included, and problems outside of steps."""
        return sum(isinstance(e.outcome, FailedStep) for e in self.ended) + len(self.problems)
