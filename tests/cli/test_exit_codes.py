"""A run's exit code follows from its report alone; the gravest failure names it."""

from __future__ import annotations

import itertools

import pytest

from algaenv.cli.exit_codes import (
    MEANINGS,
    PRECEDENCE,
    ExitCode,
    error_exit_code,
    exception_exit_code,
    plan_exit_code,
    report_exit_code,
)
from algaenv.model import problem as problems
from algaenv.model.event import Cancelled, Done, Ended, FailedStep, Outcome, Report, Skipped
from algaenv.model.plan import Blocked, Cause, Deferred, Plan, Step, Verb
from algaenv.model.problem import AlgaenvError, Problem
from tests.plan.builders import make_resource, parse_address

OOPS = Problem("oops", "cannot")
ERRORS = {
    "EngineGone": 4,
    "Locked": 5,
    "SpecError": 3,
    "LockDiffers": 2,
    "ResolveError": 8,
    "Failed": 7,
    "Conflict": 7,
    "Refused": 7,
    "Unavailable": 7,
    "NotReady": 6,
    "StalePlan": 11,
}


def step(address: str = "container/store") -> Step:
    return Step(Verb.CREATE, parse_address(address), Cause("missing"), frozenset())


def report(*outcomes: Outcome, error: str = "", interrupted: bool = False) -> Report:
    ended = tuple(Ended(step(), outcome, 0.1) for outcome in outcomes)
    stopped = (OOPS,) if error else ()
    return Report("up", ended, stopped, error, interrupted=interrupted)


def failed(error: str) -> FailedStep:
    return FailedStep(OOPS, error)


@pytest.mark.parametrize(("error", "code"), ERRORS.items())
def test_every_kind_of_error_has_its_code_in_a_step_and_outside(error: str, code: int) -> None:
    assert report_exit_code(report(error=error)) == code
    assert report_exit_code(report(Done(), failed(error), Skipped("it"))) == code


def test_the_whole_error_tree_has_a_code() -> None:
    kinds = [
        kind
        for kind in vars(problems).values()
        if isinstance(kind, type) and issubclass(kind, AlgaenvError)
    ]
    assert len(kinds) >= 10
    assert {kind.__name__ for kind in kinds if error_exit_code(kind.__name__) == 1} == set()


def test_done_unless_something_says_otherwise() -> None:
    assert report_exit_code(report()) == 0
    assert report_exit_code(report(Done())) == 0


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ERRORS, 2)))
def test_of_two_failures_the_one_nearer_to_the_root_counts(first: str, second: str) -> None:
    order = [4, 5, 3, 2, 11, 8, 7, 6]
    expected = min(ERRORS[first], ERRORS[second], key=order.index)
    assert report_exit_code(report(failed(first), failed(second))) == expected
    assert report_exit_code(report(failed(second), error=first)) == expected


def test_an_interrupted_run_is_130_whatever_failed() -> None:
    outcomes = (failed("EngineGone"), Cancelled())
    assert report_exit_code(report(*outcomes, error="Locked", interrupted=True)) == 130


def test_a_bug_in_a_step_is_a_failed_resource_and_elsewhere_a_bug() -> None:
    assert report_exit_code(report(failed("KeyError"))) == 7
    assert report_exit_code(report(error="KeyError")) == 1
    assert report_exit_code(report(failed("NotReady"), error="KeyError")) == 6


def test_a_problem_without_an_error_name_is_not_success() -> None:
    assert report_exit_code(Report("up", problems=(OOPS,))) == 1


def test_an_exception_counts_as_the_nearest_of_its_bases() -> None:
    class Special(problems.Locked):
        pass

    assert exception_exit_code(Special(OOPS)) == 5
    assert exception_exit_code(KeyError("x")) == 1


def test_a_plan_tells_differences_only_when_asked() -> None:
    changes = Plan((step(),))
    later = Plan((), deferred=(Deferred(make_resource("bucket/x"), "later"),))
    blocked = Plan((), blocked=(Blocked(parse_address("bucket/x"), OOPS),))
    asks = Plan((Step(Verb.AWAIT, parse_address("a/b"), Cause("not answering"), frozenset()),))
    assert [plan_exit_code(p, detailed=True) for p in (Plan(()), asks, changes, later)] == [
        0,
        0,
        2,
        2,
    ]
    assert [plan_exit_code(p, detailed=False) for p in (Plan(()), asks, changes, later)] == [
        0,
        0,
        0,
        0,
    ]
    assert [plan_exit_code(blocked, detailed=detailed) for detailed in (True, False)] == [7, 7]


def test_every_code_has_a_meaning_and_every_failure_a_rank() -> None:
    assert [code for code, _ in MEANINGS] == list(ExitCode)
    not_failures = {
        ExitCode.DONE,
        ExitCode.CALL,
        ExitCode.CHECK,
        ExitCode.USAGE,
        ExitCode.OUTPUT,
        ExitCode.INTERRUPTED,
    }
    assert set(PRECEDENCE) == set(ExitCode) - not_failures
