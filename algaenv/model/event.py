"""Events of a run, outcomes of its steps, and its report. Names and fields appear in JSON."""

from __future__ import annotations

from collections.abc import Callable

from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address
from algaenv.model.plan import Blocked, Kept, Step
from algaenv.model.problem import Problem
from algaenv.model.status import Status


@dataclass(frozen=True, slots=True)
class RuntimeChosen:
    """Which runtime serves this run, and why."""

    runtime: str
    why: str


@dataclass(frozen=True, slots=True)
class Resolving:
    """Something is being resolved: a build runs, a bundle is packed, a registry is queried."""

    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """It is resolved; `answer` in one phrase."""

    subject: str
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan was made; `steps` in order. It may be made again once hosts answer."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A step makes progress: a layer pulled, a line of a build, the number of a retry."""

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
    """A warning, which stops nothing."""

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


@dataclass(frozen=True, slots=True)
class Done:
    """It ended well."""


@dataclass(frozen=True, slots=True)
class FailedStep:
    """It failed; `error` is the exception's class name, for the exit code."""

    problem: Problem
    error: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """It did not run, because `because` did not end well."""

    because: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It did not run, because the run was interrupted."""


@dataclass(frozen=True, slots=True)
class CutShort:
    """It ran, and the run was interrupted while it waited for an answer."""


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
    """The result of a run; the exit code is derived from it alone."""

    verb: str
    ended: tuple[Ended, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What stopped the run outside of any step."""
    error: str = ""
    """The class name of the exception behind `problems`, empty when there is none."""
    kept: tuple[Kept, ...] = ()
    interrupted: bool = False
    status: Status | None = None
    """The status after a successful `up`."""
    blocked: tuple[Blocked, ...] = ()
    """What was in the way of the plan; `problems` holds the problem of each."""

    @property
    def changed(self) -> int:
        """How many writing steps were done."""
        return sum(e.step.writes and isinstance(e.outcome, Done) for e in self.ended)

    @property
    def failed(self) -> int:
        """How many steps failed, awaits included, and problems outside of steps."""
        return sum(isinstance(e.outcome, FailedStep) for e in self.ended) + len(self.problems)
