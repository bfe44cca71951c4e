"""Limits on what the guests of one worker take together: memory, processor time, and the clock.

Memory: each guest has a limit of its own, and many guests at once have many of those. The engine
reports no growth, so the process is measured at each tick of a guest, on its thread. A guest that
grew while there is too much is ended.

Processor time: each host call takes the interpreter's lock, and each fresh memory the kernel's, so
short calls are about twice as fast one after another. A call that waits for another machine gives
its slot up meanwhile, and one that computes for long loses it: it continues beside the others.

The clock ticks while calls are under way, and sleeps when none is.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from algaenv.runner.wasm.failure import GuestFailure, Kind

MIN_BYTES = 512 * 1024 * 1024
"""Of a worker, on whatever machine: two guests with all that each may have."""
MIN_GROWTH_BYTES = 16 * 1024 * 1024
"""What a guest must have taken to be the one that is ended."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_UNLIMITED = 1 << 60
_LONGEST_NUMBER = 19


@dataclass(slots=True)
class MemoryGrowth:
    """What one guest took so far, as far as it was seen."""

    seen: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """`most` bytes for this process, the engine and everything else included."""

    most: int

    @classmethod
    def read(cls, env: Mapping[str, str], workers: int) -> MemoryBudget:
        """`RUNNER_WORKER_MEMORY_BYTES`; unset or no number, half of the machine's memory, or of
        the control group's, shared by the workers, and not less than LEAST_BYTES."""
        text = env.get("RUNNER_WORKER_MEMORY_BYTES", "").strip()
        if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and int(text):
            return cls(int(text))
        return cls(max(MIN_BYTES, min(_memory_limits()) // 2 // workers))

    def begin(self) -> MemoryGrowth:
        """Note what there is before a guest begins."""
        return MemoryGrowth(memory_used())

    def look(self, grown: MemoryGrowth) -> None:
        """Note what it took since the last look. Raises GuestFailure (memory) if it must end."""
        now = memory_used()
        grown.bytes += max(0, now - grown.seen)
        grown.seen = now
        if now > self.most and grown.bytes >= MIN_GROWTH_BYTES:
            mib = self.most >> 20
            raise GuestFailure(
                Kind.MEMORY,
                f"the guests of this worker hold more than {mib} MiB together, and this one grew",
            )


def memory_used() -> int:
    """Bytes of memory that this process holds and shares with no file; 0 where nothing tells."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _memory_limits() -> Iterator[int]:
    """What this machine has, and what the control groups that a container sees allow."""
    with suppress(OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * _PAGE
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            yield int(Path("/sys/fs/cgroup", file).read_text())
    yield _UNLIMITED


MAX_CPU_SECONDS = 0.005
"""Of processor time in one turn, looked at once a tick; then the next begins as well. On a busy
machine a short call takes long by the clock, and is no reason to have more of them at once."""
MAX_SECONDS = 0.05
"""Of one turn by the clock: a guest may sleep inside the engine."""
_MAX_WIDTH = 16


class Slot:
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
        if now - self.since > MAX_SECONDS:
            return True
        if self._clock is None or now - self.since < MAX_CPU_SECONDS:
            return False
        return time.clock_gettime(self._clock) - self._used > MAX_CPU_SECONDS


class FairShare:
    """Keeps the turns. Every method must be called with the lock of its owner held."""

    def __init__(self, width: int) -> None:
        self._usual = self._width = width
        self._holding: dict[Slot, None] = {}
        self._returning: deque[Slot] = deque()

    @property
    def free(self) -> bool:
        """Whether one more may compute, and nobody who was at it before waits to go on."""
        return len(self._holding) < self._width and not self._returning

    def take(self, claim: Slot) -> None:
        """Begin, when it is `free`."""
        claim.since = time.monotonic()
        self._holding[claim] = None

    def give(self, claim: Slot) -> None:
        """End, or pause. One that returns goes on before anything begins."""
        self._holding.pop(claim, None)
        self._wake()

    def queue(self, claim: Slot) -> None:
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
        self._width = min(2 * self._width, _MAX_WIDTH) if lost else self._usual
        for claim in lost:
            claim.exempt = True
            self.give(claim)

    def _wake(self) -> None:
        while self._returning and len(self._holding) < self._width:
            claim = self._returning.popleft()
            self.take(claim)
            claim.gate.release()


TICK_SECONDS = 0.01
_IDLE_TICKS = 50
"""So that a call after a call need not wake the thread first."""


class Ticker:
    """A thread that calls a few quick functions at each tick."""

    def __init__(self) -> None:
        self._hands: tuple[Callable[[], None], ...] = ()
        self._active = 0
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._resting = True
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, hand: Callable[[], None]) -> None:
        """Call `hand` at each tick from now on. It must not raise, and take no time."""
        self._hands = (*self._hands, hand)

    def __enter__(self) -> Ticker:
        """Begin a call: it ticks now."""
        with self._lock:
            self._active += 1
            if self._resting:
                self._resting = False
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
                    self._thread.start()
                self._wanted.set()
        return self

    def __exit__(self, *_: object) -> None:
        """End a call."""
        with self._lock:
            self._active -= 1

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        idle = 0
        while not self._closed:
            time.sleep(TICK_SECONDS)
            for hand in self._hands:
                hand()
            idle = 0 if self._active else idle + 1
            if idle > _IDLE_TICKS and self._rest():
                self._wanted.wait()
                idle = 0

    def _rest(self) -> bool:
        with self._lock:
            if self._active or self._closed:
                return False
            self._resting = True
            self._wanted.clear()
            return True
