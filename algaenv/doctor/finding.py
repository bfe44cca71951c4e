"""What a check finds, and a check as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Problem

if TYPE_CHECKING:
    from algaenv.doctor.subject import Subject

State = Literal["ok", "warning", "failed", "skipped"]
"""`warning`: it works, but something is odd. `skipped`: it could not be made, or is about nothing
that is there; the summary says why."""
WORST_FIRST: tuple[State, ...] = ("failed", "warning", "ok", "skipped")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: one phrase, with `detail` as lines below it and a hint in the imperative.

    `repair` mends it and returns what it did, as a phrase; None where only a person can. It raises
    AlgaenvError and OSError.
    """

    state: State
    summary: str
    hint: str = ""
    detail: tuple[str, ...] = ()
    repair: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check. `why` says why a fault matters; `seconds` is how long it may take."""

    id: str
    why: str
    run: Callable[[Subject], Sequence[Finding]]
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """A finding with its check. `repaired` is what was done about it; empty for nothing."""

    check: Check
    finding: Finding
    repaired: str = ""


def good(summary: str, *detail: str) -> list[Finding]:
    """Everything is as it should be."""
    return [Finding("ok", summary, detail=detail)]


def skipped(why: str) -> list[Finding]:
    """The check is about nothing that is there, or cannot be made."""
    return [Finding("skipped", why)]


def of_problems(problems: Iterable[Problem], state: State = "failed") -> list[Finding]:
    """Each problem with its place, its code and its hint."""
    return [of_problem(it, state) for it in dict.fromkeys(problems)]


def of_problem(problem: Problem, state: State = "failed") -> Finding:
    """A problem as a finding."""
    place = f"{problem.where}: " if problem.where else ""
    return Finding(
        state, f"{place}{problem.summary} [{problem.code}]", problem.hint, problem.detail
    )
