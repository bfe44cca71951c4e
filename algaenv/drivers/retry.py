"""Retries transient failures: a server that restarts, a lock that another run holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from algaenv.model.problem import Unavailable
from algaenv.reconcile.protocols import OnProgress

if TYPE_CHECKING:
    from tenacity import RetryCallState

ATTEMPTS = 5
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds; the pauses grow exponentially from the first, with jitter."""

T = TypeVar("T")


def retry_unavailable(action: Callable[[], T], on_progress: OnProgress) -> T:
    """Call `action`, which must be idempotent, until it stops raising Unavailable.

    Raises what the last of ATTEMPTS raised; anything else at once.
    """
    try:
        return action()
    except Unavailable as error:
        failed = [error]

    # Imported for an error only: it takes as long as many a step.
    from tenacity import (
        Retrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_exponential,
        wait_random,
    )

    def attempt() -> T:
        if failed:
            raise failed.pop()
        return action()

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Unavailable):
            on_progress(f"try {state.attempt_number} of {ATTEMPTS}: {error.problem.summary}")

    retrying = Retrying(
        retry=retry_if_exception_type(Unavailable),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)
        + wait_random(0, FIRST_PAUSE),
        before_sleep=report,
        reraise=True,
    )
    return retrying(attempt)
