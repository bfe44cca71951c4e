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
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from algaenv.runner.wasm.failure import FailureKind, GuestFailure

MIN_BYTES = 512 * 1024 * 1024
"""Of a worker, on whatever machine: two guests with all that each may have."""
MIN_GROWTH_BYTES = 16 * 1024 * 1024
"""What a guest must have taken to be the one that is ended."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_UNLIMITED = 1 << 60
_MAX_DIGITS = 19


@dataclass(slots=True)
class MemoryGrowth:
    """What one guest took so far, as far as it was seen."""

    measured: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """`max_bytes` bytes for this process, the engine and everything else included."""

    max_bytes: int

    @classmethod
    def read(cls, env: Mapping[str, str], workers: int) -> MemoryBudget:
        """`RUNNER_WORKER_MEMORY_BYTES`; unset or no number, half of the machine's memory, or of
        the control group's, shared by the workers, and not less than MIN_BYTES."""
        text = env.get("RUNNER_WORKER_MEMORY_BYTES", "").strip()
        if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text):
            return cls(int(text))
        return cls(max(MIN_BYTES, min(_memory_limits()) // 2 // workers))

    def start(self) -> MemoryGrowth:
        """Note what there is before a guest begins."""
        return MemoryGrowth(memory_used())

    def check(self, growth: MemoryGrowth) -> None:
        """Measure what it took since the last check. Raises GuestFailure (memory) to end it."""
        now = memory_used()
        growth.bytes += max(0, now - growth.measured)
        growth.measured = now
        if now > self.max_bytes and growth.bytes >= MIN_GROWTH_BYTES:
            mib = self.max_bytes >> 20
            raise GuestFailure(
                FailureKind.MEMORY,
                f"the guests of this worker hold more than {mib} MiB together, and this one grew",
            )


def memory_used() -> int:
    """Bytes of memory that this process holds and shares with no file; 0 where it is unknown."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def memory_touched() -> int:
    """Bytes of the pages that this thread was the first to use; at least, as pages may be large."""
    if sys.platform == "linux":
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt * _PAGE
    else:
        return 0


def _memory_limits() -> Iterator[int]:
    """What this machine has, and what the control groups that a container sees allow."""
    with suppress(OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * _PAGE
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            yield int(Path("/sys/fs/cgroup", file).read_text())
    yield _UNLIMITED


MAX_CPU_SECONDS = 0.005
"""Of processor time in one slot, checked once a tick; then the next call begins as well. On a busy
machine a short call takes long by the clock, and is no reason to have more of them at once."""
MAX_SECONDS = 0.05
"""In one slot by the clock: a guest may sleep inside the engine."""
_MAX_WIDTH = 16


class Slot:
    """A call's permission to compute. The thread of the call blocks on `gate` until it has it."""

    __slots__ = ("_clock", "_used", "acquired_at", "exempt", "gate")

    def __init__(self) -> None:
        self.gate = Lock()
        self.gate.acquire()
        self.acquired_at = 0.0
        self._clock: int | None = None
        self._used = 0.0
        self.exempt = False
        """Whether it was revoked for good: the call computes beside the others."""

    def start(self) -> None:
        """Have the processor time of this thread counted from now on."""
        if sys.platform == "linux":
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
            self._used = time.clock_gettime(self._clock)

    def exceeds_limits(self, now: float) -> bool:
        """Whether it was held for longer than allowed, in processor time or by the clock."""
        if now - self.acquired_at > MAX_SECONDS:
            return True
        if self._clock is None or now - self.acquired_at < MAX_CPU_SECONDS:
            return False
        return time.clock_gettime(self._clock) - self._used > MAX_CPU_SECONDS


class FairShare:
    """Bounds how many calls compute at once. Its owner's lock must be held for every method."""

    def __init__(self, width: int) -> None:
        self._default_width = self._width = width
        self._holding: dict[Slot, None] = {}
        self._resuming: deque[Slot] = deque()

    @property
    def free(self) -> bool:
        """Whether one more call may compute, and no paused one waits to resume."""
        return len(self._holding) < self._width and not self._resuming

    def acquire(self, slot: Slot) -> None:
        """Take a slot, when one is `free`."""
        slot.acquired_at = time.monotonic()
        self._holding[slot] = None

    def release(self, slot: Slot) -> None:
        """End, or pause. A paused call resumes before a new one begins."""
        self._holding.pop(slot, None)
        self._wake()

    def enqueue(self, slot: Slot) -> None:
        """Ask to resume after a pause: `slot.gate` opens when it may."""
        if slot.exempt:
            slot.gate.release()
            return
        self._resuming.append(slot)
        self._wake()

    def revoke_long_running(self) -> None:
        """Revoke the slots of calls that have held one for long, once a tick.

        While that happens tick after tick, the width doubles each time: behind a row of guests that
        compute for long, a quick one waits for a few of them and not for all.
        """
        now = time.monotonic()
        revoked = [slot for slot in self._holding if slot.exceeds_limits(now)]
        self._width = min(2 * self._width, _MAX_WIDTH) if revoked else self._default_width
        for slot in revoked:
            slot.exempt = True
            self.release(slot)

    def _wake(self) -> None:
        while self._resuming and len(self._holding) < self._width:
            slot = self._resuming.popleft()
            self.acquire(slot)
            slot.gate.release()


TICK_SECONDS = 0.01
_IDLE_TICKS = 50
"""So that a call after a call need not wake the thread first."""


class Ticker:
    """A thread that calls a few quick functions at each tick."""

    def __init__(self) -> None:
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._active = 0
        self._lock = threading.Lock()
        self._wake_event = threading.Event()
        self._sleeping = True
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, callback: Callable[[], None]) -> None:
        """Call `callback` at each tick from now on. It must not raise, and take no time."""
        self._callbacks = (*self._callbacks, callback)

    def __enter__(self) -> Ticker:
        """Begin a call: it ticks now."""
        with self._lock:
            self._active += 1
            if self._sleeping:
                self._sleeping = False
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
                    self._thread.start()
                self._wake_event.set()
        return self

    def __exit__(self, *_: object) -> None:
        """End a call."""
        with self._lock:
            self._active -= 1

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._wake_event.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        idle = 0
        while not self._closed:
            time.sleep(TICK_SECONDS)
            for callback in self._callbacks:
                callback()
            idle = 0 if self._active else idle + 1
            if idle > _IDLE_TICKS and self._sleep():
                self._wake_event.wait()
                idle = 0

    def _sleep(self) -> bool:
        with self._lock:
            if self._active or self._closed:
                return False
            self._sleeping = True
            self._wake_event.clear()
            return True
