"""Threads that run guests for an event loop: a bounded number at once, and a bounded queue.

    run() --queue full--> ExecutorBusy
      |
      v        slot free           returns, traps or is ended at a tick
    queued ----------------> running ----------------------------------> resolved
      |                       |   ^
      | deadline or           |   | waits for the event loop: the slot is released, then
      | caller gone           '---' acquired again (see `FairShare`)
      v                       |
    never runs                | deadline + GRACE_SECONDS, and the guest sleeps in the engine
                              v
                           written off --guest returns--> its thread is used again

The thread that ended last takes the next call: it and its slot of the pool are warm. A guest that
nothing can end costs its thread and not its caller: the caller gets a timeout, the thread is not
counted until it comes back, and another takes its place.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from algaenv.runner.execute.invocation import Invocation
from algaenv.runner.wasm.active_call import LoopBridge
from algaenv.runner.wasm.engine_config import THREAD_STACK_BYTES
from algaenv.runner.wasm.failure import INTERRUPT, FailureKind, GuestFailure
from algaenv.runner.wasm.guest_limits import FairShare, Slot, Ticker

T = TypeVar("T")

WIDTH = 1
"""How many short calls compute at once in a process."""
GRACE_SECONDS = 0.1
"""After its deadline, for a guest to end by itself."""

_MAX_STUCK = 8
_SMOOTHING = 0.1
_MIN_RETRY_SECONDS = 1.0


class ExecutorBusy(Exception):
    """No thread is free and the queue is full. `retry_after`: seconds until that may differ."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"too many calls; try again in {retry_after:g} s")


class ExecutorClosed(Exception):
    """The executor takes no more calls."""


class GuestExecutor:
    """`threads` calls under way, of which one computes at a time, and `queue` calls waiting.

    All methods but `close` belong to the event loop. `stuck`: threads written off at the moment;
    when there are many, the process should be replaced.
    """

    def __init__(self, *, threads: int, queue: int, ticker: Ticker, width: int = WIDTH) -> None:
        self._max_threads, self._max_queued = threads, queue
        self._lock = threading.Lock()
        self._fair_share = FairShare(width)
        self._queued: deque[_Job[Any]] = deque()
        self._idle: list[_GuestThread] = []
        self._running = 0
        self._thread_count = 0
        self._mean_seconds = 0.01
        self._closed = False
        self._drained: asyncio.Event | None = None
        self.stuck = 0
        ticker.add(self._review)

    @property
    def running(self) -> int:
        """Calls under way."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queued)

    def waiter(self) -> LoopBridge:
        """Return what goes into an invocation as `wait`, before it is given to `run`."""
        return LoopBridge(asyncio.get_running_loop())

    async def run(self, function: Callable[[], T], invocation: Invocation) -> T:
        """Run `function` on a guest thread and return its result.

        Raises what it raises; GuestFailure (timeout) when its time is over, whether it has begun
        or not; ExecutorBusy, ExecutorClosed. When the caller is cancelled, the guest is ended at
        its next tick.
        """
        job = _Job(function, invocation, asyncio.get_running_loop())
        self._submit(job)
        deadline = job.loop.time() + max(0.0, invocation.deadline - time.monotonic())
        timer = job.loop.call_at(deadline, self._on_deadline, job)
        try:
            return await job.future
        except asyncio.CancelledError:
            self._cancel(job)
            raise
        finally:
            timer.cancel()
            if job.timer is not None:
                job.timer.cancel()

    async def close(self) -> None:
        """Take no more calls, and return when those under way and in the queue have ended."""
        self._closed = True
        self._drained = asyncio.Event()
        while self._running or self._queued:
            self._drained.clear()
            await self._drained.wait()
        with self._lock:
            for thread in self._idle:
                thread.inbox.put(None)
            self._idle.clear()

    def _submit(self, job: _Job[Any]) -> None:
        if self._closed:
            raise ExecutorClosed("the runner is stopping")
        with self._lock:
            if self._running + len(self._queued) >= self._capacity + self._max_queued:
                raise ExecutorBusy(self._retry_after())
            self._queued.append(job)
            self._dispatch()

    @property
    def _capacity(self) -> int:
        return self._max_threads - max(0, self.stuck - _MAX_STUCK)

    def _retry_after(self) -> float:
        ahead = len(self._queued) + 1
        return max(_MIN_RETRY_SECONDS, round(ahead * self._mean_seconds / 2, 1))

    def _dispatch(self) -> None:
        """Give queued calls to threads, while they may compute."""
        while (job := self._next()) is not None:
            thread = self._idle.pop() if self._idle else self._new_thread()
            thread.inbox.put(job)

    def _next(self) -> _Job[Any] | None:
        """Take the next call from the queue, if it may begin."""
        if self._queued and self._running < self._capacity and self._fair_share.free:
            job = self._queued.popleft()
            job.started_at = time.monotonic()
            self._running += 1
            self._fair_share.acquire(job.slot)
            return job
        return None

    def _new_thread(self) -> _GuestThread:
        self._thread_count += 1
        return _GuestThread(self._thread_count, self._run_thread)

    def _run_thread(self, thread: _GuestThread) -> None:
        """The body of a guest thread."""
        while (job := thread.inbox.get()) is not None:
            current: _Job[Any] | None = job
            while current is not None:
                result, error = current.run(pause=self._pause, resume=self._resume)
                self._record_end(current)
                current.resolve(result, error, self._notify_drained)
                current.run_deferred()
                del result, error
                current = self._finish(thread, current)
            del job

    def _record_end(self, job: _Job[Any]) -> None:
        """Count a call as ended, before its caller gets the result and sends another."""
        with self._lock:
            if job.written_off:
                self.stuck -= 1
            else:
                self._running -= 1
                seconds = time.monotonic() - job.started_at
                self._mean_seconds += _SMOOTHING * (seconds - self._mean_seconds)

    def _finish(self, thread: _GuestThread, job: _Job[Any]) -> _Job[Any] | None:
        """Release the slot of a call; return the next call for this thread."""
        with self._lock:
            self._fair_share.release(job.slot)
            following = self._next()
            if following is None:
                self._idle.append(thread)
            self._dispatch()
            return following

    def _pause(self, slot: Slot) -> None:
        with self._lock:
            self._fair_share.release(slot)
            self._dispatch()

    def _resume(self, slot: Slot) -> None:
        with self._lock:
            self._fair_share.enqueue(slot)
        slot.gate.acquire()
        slot.start()

    def _review(self) -> None:
        with self._lock:
            self._fair_share.revoke_long_running()
            self._dispatch()

    def _on_deadline(self, job: _Job[Any]) -> None:
        """The deadline of a call: a queued one never begins, a running one gets a moment to end."""
        if job.future.done():
            return
        if not self._withdraw(job):
            job.timer = job.loop.call_later(GRACE_SECONDS, self._write_off, job)
            return
        self._notify_drained()
        message = "the time of the call was over before a guest thread was free"
        job.future.set_exception(GuestFailure(FailureKind.TIMEOUT, message))

    def _write_off(self, job: _Job[Any]) -> None:
        """Fail the call of a guest that cannot be ended; its thread no longer counts."""
        if job.future.done():
            return
        self._abandon(job)
        job.future.set_exception(
            GuestFailure(
                FailureKind.TIMEOUT,
                "the guest did not end at its deadline",
                reason=INTERRUPT,
            )
        )

    def _abandon(self, job: _Job[Any]) -> None:
        with self._lock:
            # Its time may be over first, and its caller leave after that.
            if job.finished or job.written_off:
                return
            job.written_off = True
            self._running -= 1
            self.stuck += 1
            job.slot.exempt = True
            self._fair_share.release(job.slot)
            self._dispatch()
        self._notify_drained()

    def _cancel(self, job: _Job[Any]) -> None:
        if self._withdraw(job):
            self._notify_drained()
            return
        job.cancel()
        if not job.finished:
            job.loop.call_later(GRACE_SECONDS, self._abandon, job)

    def _withdraw(self, job: _Job[Any]) -> bool:
        """Take a call out of the queue; returns whether it never began."""
        with self._lock:
            if job in self._queued:
                self._queued.remove(job)
            return job.started_at == 0

    def _notify_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()


class _GuestThread:
    """A thread. Its stack holds the guest's, host functions on top of it, and Python."""

    __slots__ = ("inbox",)

    def __init__(self, number: int, serve: Callable[[_GuestThread], None]) -> None:
        self.inbox: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        before = threading.stack_size(THREAD_STACK_BYTES)
        try:
            threading.Thread(
                target=serve, args=(self,), name=f"guest-{number}", daemon=True
            ).start()
        finally:
            threading.stack_size(before)


class _Job(Generic[T]):
    """One call on its way through the executor."""

    __slots__ = (
        "_function", "_invocation", "finished", "future", "loop", "queued_at", "slot",
        "started_at", "timer", "written_off",
    )  # fmt: skip

    def __init__(
        self, function: Callable[[], T], invocation: Invocation, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._function, self._invocation, self.loop = function, invocation, loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.slot = Slot()
        self.queued_at = time.monotonic()
        self.started_at = 0.0
        self.finished = False
        self.written_off = False
        self.timer: asyncio.TimerHandle | None = None

    def run(
        self, *, pause: Callable[[Slot], None], resume: Callable[[Slot], None]
    ) -> tuple[T | None, BaseException | None]:
        """Do the work on this thread."""
        invocation, slot = self._invocation, self.slot
        slot.start()
        invocation.timings.queued = self.started_at - self.queued_at
        if isinstance(invocation.wait, LoopBridge):
            invocation.wait.bind(
                invocation.deadline,
                invocation.timings,
                pause=lambda: pause(slot),
                resume=lambda: resume(slot),
            )
        try:
            return self._function(), None
        except GuestFailure as error:
            # It says all there is to know; frames would keep each other alive for a while.
            return None, error.with_traceback(None)
        except BaseException as error:
            return None, error
        finally:
            self.finished = True

    def run_deferred(self) -> None:
        """Do what the call has left to be done, now that its caller has the response."""
        if isinstance(self._invocation.wait, LoopBridge):
            self._invocation.wait.run_deferred()

    def cancel(self) -> None:
        """End the guest at its next tick, and wake it if it waits."""
        if isinstance(self._invocation.wait, LoopBridge):
            self._invocation.wait.cancel()

    def resolve(
        self, result: T | None, error: BaseException | None, on_resolved: Callable[[], None]
    ) -> None:
        """Pass the result to the loop."""

        def set_result() -> None:
            if not self.future.done():
                if error is not None:
                    self.future.set_exception(error)
                else:
                    self.future.set_result(result)  # type: ignore[arg-type]
            on_resolved()

        try:
            self.loop.call_soon_threadsafe(set_result)
        except RuntimeError:
            # The loop has ended: there is no caller any more.
            return
