"""Executes a plan in parallel; steps that depend on a failed step are skipped.

It decides nothing: the plan holds every decision.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass, field
from algaenv.model.event import (
    Cancelled,
    CutShort,
    Done,
    Emit,
    Ended,
    FailedStep,
    Outcome,
    Planned,
    Skipped,
    StepEnded,
    StepProgress,
    StepStarted,
    StepWaiting,
    outcome_name,
)
from algaenv.model.kind import Address, Tier, kind_of
from algaenv.model.plan import Plan, Step, Verb
from algaenv.model.probe import PrewarmRequest
from algaenv.model.problem import AlgaenvError, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import HasLog, Prober, ReportsDiagnostics, ResourceDriver
from algaenv.reconcile.wait import (
    WaitInterrupted,
    WaitOptions,
    wait_until_answered,
    wait_until_prewarmed,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

WORKERS = 8
SERIAL = frozenset({Verb.PREWARM})
"""Verbs of which one step runs at a time: one compilation uses every core."""
_UNKNOWN = Present(recorded=None)


@dataclass(frozen=True, slots=True)
class Continuation:
    """Steps that can be planned only once those in `needs` have ended well.

    `plan` is called in a thread, beside the steps that still run, and must not raise; None: there
    is no more to do. `shown` are the steps that the first plan has in their place.
    """

    needs: frozenset[Address]
    plan: Callable[[], Plan | None]
    shown: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes plans.

    `drivers` returns the driver of each kind. Only plans that write call it: drivers import SDKs.
    """

    drivers: Callable[[], Mapping[str, ResourceDriver]]
    prober: Prober
    emit: Emit
    ready_seconds: float
    """How long a handler may take to compile, and a service to answer."""
    cancelled: Callable[[], bool] = lambda: False
    answer_seconds: float | None = None
    """How long an extension may take to answer, once it is compiled; None: `ready_seconds`."""

    def execute(
        self, plan: Plan, before: tuple[Ended, ...] = (), then: Continuation | None = None
    ) -> tuple[Ended, ...]:
        """Execute every step of `plan`, in parallel where the order allows; never raises.

        Steps that depend on a step of `before` that did not end well are skipped. The steps of
        `then` follow as soon as they can be planned; never, when one of its needs ends badly. A
        plan that only waits is executed in this thread, since a no-op must be fast.
        """
        progress = _Progress()
        progress.add(plan.steps)
        for earlier in before:
            progress.record(earlier.step.address, earlier.outcome)
        for blocked in plan.blocked:
            progress.unavailable[blocked.address] = str(blocked.address)
        if not plan.actions and then is None:
            while (step := self._next(progress)) is not None:
                progress.start(step)
                self._finish(progress, step, *self._run_timed(step))
        else:
            self._execute_in_threads(progress, then)
        for step in tuple(progress.waiting.values()):
            self._finish(progress, step, Cancelled(), 0.0)
        return tuple(progress.ended)

    def _execute_in_threads(self, progress: _Progress, then: Continuation | None) -> None:
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

        running: dict[Future[tuple[Outcome, float]], Step] = {}
        planning: Future[Plan | None] | None = None
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="step") as pool:
            while True:
                while (step := self._next(progress)) is not None:
                    progress.start(step)
                    running[pool.submit(self._run_timed, step)] = step
                if then and not planning and progress.ended_well(then.needs):
                    planning = None if self.cancelled() else pool.submit(then.plan)
                if not running and planning is None:
                    return
                pending: list[Future[Any]] = [*running]
                pending += [planning] if planning else []
                wait(pending, return_when=FIRST_COMPLETED)
                for future in [it for it in running if it.done()]:
                    self._finish(progress, running.pop(future), *future.result())
                if then and planning and planning.done():
                    self._continue(progress, then, planning.result())
                    then = planning = None

    def _continue(self, progress: _Progress, then: Continuation, plan: Plan | None) -> None:
        if plan is None:
            return
        if plan.steps != then.shown:
            self.emit(Planned((*progress.waiting.values(), *plan.steps)))
        for blocked in plan.blocked:
            progress.unavailable[blocked.address] = str(blocked.address)
        progress.add(plan.steps)

    def _next(self, progress: _Progress) -> Step | None:
        """The next step to run; steps that depend on a failure are skipped on the way."""
        while not self.cancelled() and (step := progress.next_ready()) is not None:
            because = progress.failure_before(step)
            if because is None:
                return step
            self._finish(progress, step, Skipped(because), 0.0)
        return None

    def _run_timed(self, step: Step) -> tuple[Outcome, float]:
        started = time.monotonic()
        self.emit(StepStarted(step))
        try:
            self._run(step)
            outcome: Outcome = Done()
        except WaitInterrupted:
            outcome = CutShort()
        except AlgaenvError as error:
            outcome = FailedStep(error.problem, type(error).__name__)
        except Exception as error:  # the report must survive a bug of ours
            outcome = FailedStep(_bug(step, error), type(error).__name__)
        return outcome, time.monotonic() - started

    def _run(self, step: Step) -> None:
        resource = step.resource
        seen = step.change.seen if step.change and step.change.seen else _UNKNOWN
        on_progress = self._on_progress(step.address)
        if step.writes:
            driver = self.drivers()[step.address.kind]
            match step.verb:
                case Verb.DELETE:
                    driver.delete(step.address, seen, on_progress)
                case Verb.CREATE | Verb.RUN:
                    driver.create(_wanted(resource), on_progress)
                case Verb.REPLACE:
                    driver.delete(step.address, seen, on_progress)
                    driver.create(_wanted(resource), on_progress)
                case _:
                    driver.update(_wanted(resource), seen, on_progress)
        if resource is None:
            return
        if isinstance(resource.body, PrewarmRequest):
            wait = self._wait_options(step.address, self.ready_seconds)
            wait_until_prewarmed(self.prober, resource.body, wait)
        if resource.probe is not None:
            wait = self._wait_options(step.address, self._answer_seconds(step.address))
            wait_until_answered(self.prober, resource.probe, str(step.address), wait)

    def _answer_seconds(self, address: Address) -> float:
        if self.answer_seconds is None or kind_of(address).tier is not Tier.CONTENT:
            return self.ready_seconds
        return min(self.ready_seconds, self.answer_seconds)

    def _wait_options(self, address: Address, seconds: float) -> WaitOptions:
        def diagnostics() -> tuple[str, ...] | None:
            driver = self.drivers().get(address.kind)
            return driver.diagnostics(address) if isinstance(driver, ReportsDiagnostics) else None

        def log() -> str:
            driver = self.drivers().get(address.kind)
            return driver.log_location(address) if isinstance(driver, HasLog) else ""

        return WaitOptions(
            seconds=seconds,
            cancelled=self.cancelled,
            diagnostics=diagnostics,
            log=log,
            waiting=lambda last, seconds: self.emit(StepWaiting(address, last, seconds)),
        )

    def _on_progress(self, address: Address) -> Callable[[str], None]:
        return lambda note: self.emit(StepProgress(address, note))

    def _finish(self, progress: _Progress, step: Step, outcome: Outcome, seconds: float) -> None:
        progress.end(step, outcome, seconds)
        problem = outcome.problem if isinstance(outcome, FailedStep) else None
        self.emit(StepEnded(step, outcome_name(outcome), seconds, problem))


@dataclass(slots=True)
class _Progress:
    """The progress of an execution."""

    waiting: dict[Address, Step] = field(default_factory=dict)
    running: set[Address] = field(default_factory=set)
    unavailable: dict[Address, str] = field(default_factory=dict)
    """Address of a step that did not end well → the failure it goes back to."""
    ended: list[Ended] = field(default_factory=list)

    missing: dict[Address, int] = field(default_factory=dict)
    """Address → number of its needs that have not ended."""
    dependents: dict[Address, list[Address]] = field(default_factory=dict)
    position: dict[Address, int] = field(default_factory=dict)
    ready: list[tuple[int, Address]] = field(default_factory=list)
    """A heap of the steps that can start, in the order of the plan."""
    serial: Address | None = None
    """The running step with a verb of SERIAL."""
    queued: list[tuple[int, Address]] = field(default_factory=list)
    """A heap of the steps that can start once `serial` has ended."""

    def add(self, steps: tuple[Step, ...]) -> None:
        """Take in the steps of a plan; they may need steps that were added before."""
        self.waiting |= {step.address: step for step in steps}
        unfinished = self.waiting.keys() | self.running
        for number, step in enumerate(steps, start=len(self.position)):
            needs = step.needs & unfinished
            self.position[step.address] = number
            self.missing[step.address] = len(needs)
            for need in needs:
                self.dependents.setdefault(need, []).append(step.address)
            if not needs:
                heapq.heappush(self.ready, (number, step.address))

    def ended_well(self, addresses: frozenset[Address]) -> bool:
        """True once none of these steps is left, and all that there were ended well."""
        left = self.waiting.keys() | self.running | self.unavailable.keys()
        return left.isdisjoint(addresses)

    def next_ready(self) -> Step | None:
        """A step whose needs have all ended; each step is returned once."""
        while self.ready:
            place = heapq.heappop(self.ready)
            step = self.waiting[place[1]]
            if step.verb not in SERIAL or self.serial is None:
                return step
            heapq.heappush(self.queued, place)
        return None

    def failure_before(self, step: Step) -> str | None:
        return next(
            (self.unavailable[need] for need in sorted(step.needs & self.unavailable.keys())), None
        )

    def start(self, step: Step) -> None:
        del self.waiting[step.address]
        self.running.add(step.address)
        if step.verb in SERIAL:
            self.serial = step.address

    def end(self, step: Step, outcome: Outcome, seconds: float) -> None:
        self.waiting.pop(step.address, None)
        self.running.discard(step.address)
        self.record(step.address, outcome)
        self.ended.append(Ended(step, outcome, seconds))
        if self.serial == step.address:
            self.serial = None
            if self.queued:
                heapq.heappush(self.ready, heapq.heappop(self.queued))
        for address in self.dependents.get(step.address, ()):
            self.missing[address] -= 1
            if not self.missing[address] and address in self.waiting:
                heapq.heappush(self.ready, (self.position[address], address))

    def record(self, address: Address, outcome: Outcome) -> None:
        if not isinstance(outcome, Done):
            self.unavailable[address] = (
                outcome.because if isinstance(outcome, Skipped) else str(address)
            )


def _wanted(resource: Resource | None) -> Resource:
    if resource is None:
        raise TypeError("a step that makes something has a resource")
    return resource


def _bug(step: Step, error: Exception) -> Problem:
    """The problem of a bug. Source lines and the text of the error are left out: they may hold a
    secret."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return Problem(
        code="unexpected",
        summary=f"cannot {step.verb} {step.address}: {type(error).__name__}",
        hint="this looks like a bug in algaenv; please report it with the lines above",
        detail=tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-6:]),
    )
