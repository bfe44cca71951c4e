"""Waits: repeats a probe until it succeeds, can never succeed, or time is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from algaenv.bundle.value import dataclass, replace
from algaenv.model.probe import (
    BrokenHandler,
    ExtensionProbe,
    Never,
    NotYet,
    PrewarmRequest,
    Probe,
    ProbeResult,
    Yes,
)
from algaenv.model.problem import Failed, NotReady, Problem, Unavailable, is_full
from algaenv.reconcile.protocols import Prober

T = TypeVar("T")

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25
REPORT_INTERVAL = 0.5
"""Seconds before a wait is reported, and between two reports."""
INTERRUPT_SECONDS = 0.05
"""Seconds after which an interrupt is noticed while a handler is compiled."""
COMPILING = "its handler is being compiled"


class WaitInterrupted(Exception):
    """The run was interrupted during a wait."""


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """How long to wait, and what a wait may be cut short by.

    `diagnostics` returns the last log lines of a service that has ended, None while it runs; `log`
    how all of them are read, empty where there are none.
    """

    seconds: float
    cancelled: Callable[[], bool] = lambda: False
    diagnostics: Callable[[], tuple[str, ...] | None] = lambda: None
    log: Callable[[], str] = str
    waiting: Callable[[str, float], None] = lambda _last, _seconds: None
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


def wait_until_answered(prober: Prober, probe: Probe, subject: str, wait: WaitOptions) -> None:
    """Return once `probe` succeeds.

    Raises NotReady with the last answer when time is up or the probe can never succeed, Failed with
    the last log lines when the service has ended, WaitInterrupted when the run was interrupted.
    """
    code = "extension-not-answering" if isinstance(probe, ExtensionProbe) else "not-answering"
    _wait(lambda: prober.probe(probe), subject, wait, code)


def _wait(
    probe: Callable[[], ProbeResult], subject: str, wait: WaitOptions, code: str = "not-answering"
) -> None:
    started = wait.clock()
    while True:
        answer = probe()
        match answer:
            case Yes():
                return
            case Never(last, hint, detail):
                hint = hint or _see_log(wait.log())
                raise NotReady(_problem(code, subject, last, hint, detail))
            case NotYet(last):
                pass
        waited = wait.clock() - started
        lines = wait.diagnostics()
        if lines is not None:
            if is_full(lines):
                raise Failed(
                    Problem(
                        code="disk-full",
                        summary=f"cannot bring up {subject}: it ended, for the disk is full",
                        hint="make room on the disk that holds its data; `algaenv up` tries again",
                        detail=lines,
                    )
                )
            raise Failed(
                Problem(
                    code="service-ended",
                    summary=f"cannot bring up {subject}: it ended while starting",
                    hint=_after_the_end(wait.log()),
                    detail=lines,
                )
            )
        if wait.cancelled():
            raise WaitInterrupted
        if waited >= wait.seconds:
            hint = f"{_see_log(wait.log())}; raise `ready_timeout` if it only needs longer"
            limit = f"{wait.seconds:g} s"
            raise NotReady(_problem("not-ready", subject, f"{last} (waited {limit})", hint, ()))
        if waited >= REPORT_INTERVAL:
            wait.waiting(last, waited)
        wait.pause(min(_pause_after(waited), max(wait.seconds - waited, 0)))


def wait_until_prewarmed(prober: Prober, request: PrewarmRequest, wait: WaitOptions) -> None:
    """Return once the handler is compiled and linked, or when there is none.

    Raises Failed (`handler-broken`) when it cannot be compiled or linked, NotReady as
    `wait_until_answered`.
    """

    until = wait.clock() + wait.seconds

    def probe() -> ProbeResult:
        # One request for the whole time: repeating it would gain nothing.
        left = max(until - wait.clock(), LONGEST_PAUSE)
        with _reported(COMPILING, wait):
            answer = _interruptible(
                lambda: prober.prewarm(replace(request, seconds=left)), wait.cancelled
            )
        if isinstance(answer, BrokenHandler):
            summary = f"{request.bundle} is not ready: its handler cannot run: {answer.reason}"
            detail = tuple(cause for cause in answer.causes if cause not in summary)
            raise Failed(Problem("handler-broken", summary, answer.hint, detail=detail))
        return answer

    _wait(probe, request.bundle, wait)


def _interruptible(action: Callable[[], T], cancelled: Callable[[], bool]) -> T:
    """The result of `action`, which goes on in a thread when WaitInterrupted is raised.

    A compilation that is under way is worth finishing, and the runner does; but nobody has to wait
    for it who has something else to do.
    """
    from concurrent.futures import Future, wait

    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # raised again by `result`
            future.set_exception(error)

    threading.Thread(target=run, name="prewarm", daemon=True).start()
    while not wait((future,), timeout=INTERRUPT_SECONDS).done:
        if cancelled():
            raise WaitInterrupted
    return future.result()


@contextmanager
def _reported(what: str, wait: WaitOptions) -> Iterator[None]:
    """Report the wait periodically while the block runs."""
    started, over = wait.clock(), threading.Event()

    def report() -> None:
        while not over.wait(REPORT_INTERVAL):
            wait.waiting(what, wait.clock() - started)

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        over.set()
        reporter.join()


def wait_until_available(action: Callable[[], T], wait: WaitOptions) -> T:
    """The result of `action`, retried while it raises Unavailable and there is time left."""
    started = wait.clock()
    while True:
        try:
            return action()
        except Unavailable as error:
            waited = wait.clock() - started
            if wait.cancelled() or waited >= wait.seconds:
                raise
            if waited >= REPORT_INTERVAL:
                wait.waiting(error.problem.summary, waited)
        wait.pause(_pause_after(waited))


def _pause_after(waited: float) -> float:
    """An eighth of the time that has passed: what takes a second is noticed within 0.13 s."""
    return min(max(FIRST_PAUSE, waited / 8), LONGEST_PAUSE)


def _problem(code: str, subject: str, last: str, hint: str, detail: tuple[str, ...]) -> Problem:
    return Problem(
        code=code,
        summary=f"{subject} is not ready: {last}",
        hint=hint,
        detail=detail,
    )


def _see_log(log: str) -> str:
    return f"see what it says in {log}" if log else "see with `algaenv status` what answers"


def _after_the_end(log: str) -> str:
    more = f", all of them in {log}" if log else ""
    return f"its last lines are above{more}; `algaenv up` tries again"
