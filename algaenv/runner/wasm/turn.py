"""Who computes: guests of one process take turns, for threads at once only hinder each other.

Each call of a host function takes the interpreter's lock, and each fresh memory the kernel's, so
short calls are about twice as fast one after another. A call that waits for another machine gives
its turn up meanwhile, and one that computes for long loses it: it goes on beside the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from threading import Lock

LONGEST_SECONDS = 0.005
"""Of processor time in one turn, looked at once a tick; then the next begins as well. On a busy
machine a short call takes long by the clock, and is no reason to have more of them at once."""
LONGEST_WAIT_SECONDS = 0.05
"""Of one turn by the clock: a guest may sleep inside the engine."""
_WIDEST = 16


class Claim:
    """A call's part in the turns. The thread of the call blocks on `gate` until it is its turn."""

    __slots__ = ("_clock", "_used", "exempt", "gate", "since")

    def __init__(self) -> None:
        self.gate = Lock()
        self.gate.acquire()
        self.since = 0.0
        self._clock: int | None = None
        self._used = 0.0
        self.exempt = False
        """Whether it has lost its turn for good, and needs none any more."""

    def begin(self) -> None:
        """Have the processor time of this thread counted from now on."""
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._used = time.clock_gettime(self._clock)

    def is_long(self, now: float) -> bool:
        """Whether it has computed, or only been there, for longer than a turn may last."""
        if now - self.since > LONGEST_WAIT_SECONDS:
            return True
        if self._clock is None or now - self.since < LONGEST_SECONDS:
            return False
        return time.clock_gettime(self._clock) - self._used > LONGEST_SECONDS


class Turn:
    """Keeps the turns. Every method must be called with the lock of its owner held."""

    def __init__(self, width: int) -> None:
        self._usual = self._width = width
        self._holding: dict[Claim, None] = {}
        self._returning: deque[Claim] = deque()

    @property
    def free(self) -> bool:
        """Whether one more may compute, and nobody who was at it before waits to go on."""
        return len(self._holding) < self._width and not self._returning

    def take(self, claim: Claim) -> None:
        """Begin, when it is `free`."""
        claim.since = time.monotonic()
        self._holding[claim] = None

    def give(self, claim: Claim) -> None:
        """End, or pause. One that returns goes on before anything begins."""
        self._holding.pop(claim, None)
        self._wake()

    def queue(self, claim: Claim) -> None:
        """Ask to go on after a pause: `claim.gate` opens when it may."""
        if claim.exempt:
            claim.gate.release()
            return
        self._returning.append(claim)
        self._wake()

    def review(self) -> None:
        """Take the turn from those that have had it for long, once a tick.

        While that happens tick after tick, twice as many begin each time: behind a row of guests
        that compute for long, a quick one waits for a few of them and not for all.
        """
        now = time.monotonic()
        lost = [claim for claim in self._holding if claim.is_long(now)]
        self._width = min(2 * self._width, _WIDEST) if lost else self._usual
        for claim in lost:
            claim.exempt = True
            self.give(claim)

    def _wake(self) -> None:
        while self._returning and len(self._holding) < self._width:
            claim = self._returning.popleft()
            self.take(claim)
            claim.gate.release()
