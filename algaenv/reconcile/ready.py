"""The one loop that waits: asks a probe until it answers, can never answer, or time is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from algaenv.bundle.value import dataclass
from algaenv.model.probe import Answer, ExtensionProbe, Never, NotYet, Probe, Yes
from algaenv.model.problem import Failed, NotReady, Problem, Unavailable, is_full
from algaenv.reconcile.protocols import Asker, Broken, Warming

T = TypeVar("T")

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25
QUIET = 0.5
"""Seconds before a wait is worth telling a watcher, and between two tellings."""
COMPILING = "its handler is being compiled"


class InterruptedWait(Exception):
    """The run was interrupted while an answer was waited for, which would perhaps have come."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and what a wait may be cut short by.

    `evidence` answers the last log lines of a service that has ended, None while it runs; `log`
    how all of them are read, empty where there are none.
    """

    seconds: float
    cancelled: Callable[[], bool] = lambda: False
    evidence: Callable[[], tuple[str, ...] | None] = lambda: None
    log: Callable[[], str] = str
    waiting: Callable[[str, float], None] = lambda _last, _seconds: None
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


def until_answered(asker: Asker, probe: Probe, subject: str, patience: Patience) -> None:
    """Return once `probe` is answered as it should be.

    Raises NotReady when time is up or the answer can never come, with the last answer; Failed
    when the service has ended meanwhile, with its last log lines; InterruptedWait when the run was.
    """
    code = "extension-not-answering" if isinstance(probe, ExtensionProbe) else "not-answering"
    _until(lambda: asker.ask(probe), subject, patience, code)


def _until(
    ask: Callable[[], Answer], subject: str, patience: Patience, code: str = "not-answering"
) -> None:
    started = patience.clock()
    pause = FIRST_PAUSE
    while True:
        answer = ask()
        match answer:
            case Yes():
                return
            case Never(last, hint, detail):
                hint = hint or _look(patience.log())
                raise NotReady(_problem(code, subject, last, hint, detail))
            case NotYet(last):
                pass
        waited = patience.clock() - started
        lines = patience.evidence()
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
                    hint=_after_the_end(patience.log()),
                    detail=lines,
                )
            )
        if patience.cancelled():
            raise InterruptedWait
        if waited >= patience.seconds:
            hint = f"{_look(patience.log())}; raise `ready_timeout` if it only needs longer"
            limit = f"{patience.seconds:g} s"
            raise NotReady(_problem("not-ready", subject, f"{last} (waited {limit})", hint, ()))
        if waited >= QUIET:
            patience.waiting(last, waited)
        patience.pause(min(pause, max(patience.seconds - waited, 0)))
        pause = min(pause * 1.6, LONGEST_PAUSE)


def until_warm(asker: Asker, warming: Warming, subject: str, patience: Patience) -> None:
    """Return once the handler can be called at once, or when there is none.

    Raises Failed (`handler-broken`) when it can be compiled or linked by nobody, NotReady as
    `until_answered`.
    """

    until = patience.clock() + patience.seconds

    def ask() -> Answer:
        # One question that takes all the time there is: hanging up and asking again gains nothing.
        left = max(until - patience.clock(), LONGEST_PAUSE)
        with _told(COMPILING, patience):
            answer = asker.warm(replace(warming, seconds=left))
        if isinstance(answer, Broken):
            summary = f"{subject} is not ready: its handler cannot run: {answer.reason}"
            detail = tuple(cause for cause in answer.causes if cause not in summary)
            raise Failed(Problem("handler-broken", summary, answer.hint, detail=detail))
        return answer

    _until(ask, subject, patience)


@contextmanager
def _told(what: str, patience: Patience) -> Iterator[None]:
    """Tell the watcher of a wait, again and again while it lasts."""
    started, over = patience.clock(), threading.Event()

    def tell() -> None:
        while not over.wait(QUIET):
            patience.waiting(what, patience.clock() - started)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def until_available(action: Callable[[], T], patience: Patience) -> T:
    """What `action` gives, tried again while it raises Unavailable and there is time left."""
    started = patience.clock()
    pause = FIRST_PAUSE
    while True:
        try:
            return action()
        except Unavailable as error:
            waited = patience.clock() - started
            if patience.cancelled() or waited >= patience.seconds:
                raise
            if waited >= QUIET:
                patience.waiting(error.problem.summary, waited)
        patience.pause(pause)
        pause = min(pause * 1.6, LONGEST_PAUSE)


def _problem(code: str, subject: str, last: str, hint: str, detail: tuple[str, ...]) -> Problem:
    return Problem(
        code=code,
        summary=f"{subject} is not ready: {last}",
        hint=hint,
        detail=detail,
    )


def _look(log: str) -> str:
    return f"see what it says in {log}" if log else "see with `algaenv status` what answers"


def _after_the_end(log: str) -> str:
    more = f", all of them in {log}" if log else ""
    return f"its last lines are above{more}; `algaenv up` tries again"
