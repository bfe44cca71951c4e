"""Reports how a run ended, and what was nearest to the root of its failure."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from algaenv.bundle.value import replace
from algaenv.model.event import Done, Emit, Ended, Event, FailedStep, Report, Reported
from algaenv.model.lock import Environment
from algaenv.model.plan import Deferred
from algaenv.model.problem import AlgaenvError, EngineGone, Problem, Unavailable
from algaenv.reconcile.converge import PlanResult
from algaenv.reconcile.protocols import Runtime
from algaenv.reconcile.time_limit import TimeLimit

BUILD_CANCELLED = "build-cancelled"


def report_of(
    verb: str, planned: PlanResult, ended: tuple[Ended, ...], *, cancelled: bool
) -> Report:
    """The report of an executed plan, with what blocked or stopped it."""
    # A cancelled build has not failed.
    blocked = [
        b for b in planned.plan.blocked if not (cancelled and b.problem.code == BUILD_CANCELLED)
    ]
    problems = tuple(it.problem for it in blocked)
    errors = {it.error for it in blocked}
    # A missing bundle is nearer to the root cause than a conflict.
    error = min(errors, key=lambda it: (it != "ResolveError", it == "Conflict", it), default="")
    if planned.failure is not None:
        problems += planned.failure.problems
        error = error or type(planned.failure).__name__
    cut = len(blocked) < len(planned.plan.blocked)
    return Report(
        verb,
        ended,
        problems,
        error,
        kept=planned.plan.kept,
        interrupted=cut,
        blocked=tuple(blocked),
    )


def partial_plan(deferred: Sequence[Deferred]) -> Problem:
    """The warning after a saved plan that does nothing about what could not be seen."""
    names = sorted({it.resource.address.kind for it in deferred})
    return Problem(
        "plan-partial",
        f"cannot install what the plan does not hold: {len(deferred)} resources "
        f"({', '.join(names)}) could not be seen when it was made",
        "run `algaenv plan` for the rest, or `algaenv up`",
    )


def any_failed(ended: Iterable[Ended]) -> bool:
    """Whether a step failed by itself."""
    return any(isinstance(it.outcome, FailedStep) for it in ended)


def with_engine_failure(report: Report, runtime: Runtime, environment: Environment) -> Report:
    """The report of a failed run, with the failure of the engine when it no longer answers.

    Ports may go with an engine, so that a step fails on a service that does not answer, and not on
    the engine itself.
    """
    if report.interrupted or any(
        isinstance(it.outcome, FailedStep) and it.outcome.error == EngineGone.__name__
        for it in report.ended
    ):
        return report
    try:
        runtime.observer(environment).observe(())
    except Unavailable as error:  # Gone, or too slow to answer a look.
        problems = (*error.problems, *report.problems)
        return replace(report, problems=problems, error=EngineGone.__name__)
    except AlgaenvError:
        return report  # It answers: what it answered is not why the step failed.
    return report


def serialized(emit: Emit) -> Emit:
    """`emit` under a lock: steps run in threads, and a sink takes one event at a time."""
    emit_lock = threading.Lock()

    def emit_locked(event: Event) -> None:
        with emit_lock:
            emit(event)

    return emit_locked


def failed_report(verb: str, error: AlgaenvError) -> Report:
    """The report of a run that ended with an error."""
    return Report(verb, problems=error.problems, error=type(error).__name__)


def finish_report(
    report: Report, emit: Emit, *, cancelled: bool, limit: TimeLimit | None = None
) -> Report:
    """Say whether the run was interrupted, and emit the report."""
    if cancelled:
        problems = tuple(p for p in report.problems if p.code != BUILD_CANCELLED)
        report = replace(report, problems=problems, error=report.error if problems else "")
    unfinished = any(not isinstance(ended.outcome, Done) for ended in report.ended)
    cut = report.interrupted or unfinished or not report.ended
    report = replace(report, interrupted=cancelled and cut)
    report = report if limit is None else limit.applied(report)
    emit(Reported(report))
    return report
