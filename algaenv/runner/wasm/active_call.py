"""A call under way on a guest thread: captured output, faults, and a bridge to the event loop.

The engine calls back on the thread that runs the guest, so the state of one call can never be
taken for another's.

A thread that waits for the event loop wakes when the task has ended, at the deadline, or when the
caller has disconnected, whichever is first. In the last two cases the task is cancelled by an anyio
scope, which the HTTP client can bear (see `algaenv.runner.outbound`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from anyio import CancelScope

from algaenv.runner.execute.invocation import DeadlineExceeded, Invocation, Level, Timings
from algaenv.runner.wasm.failure import INTERRUPT, FailureKind, GuestFailure
from algaenv.runner.wasm.guest_limits import MemoryBudget, MemoryGrowth
from algaenv.system.files import memory_file

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


T = TypeVar("T")


class LoopBridge:
    """The Waiter of one call. `GuestExecutor.waiter` creates it, `GuestExecutor.run` binds it.

    `cancelled`: whether the caller has gone; a guest is ended at its next tick then.
    """

    __slots__ = (
        "_deadline", "_deferred", "_loop", "_pause", "_resume", "_task", "_timings", "cancelled",
    )  # fmt: skip

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._deadline = float("inf")
        self._timings: Timings | None = None
        self._pause: Callable[[], None] | None = None
        self._resume: Callable[[], None] | None = None
        self._task: _BridgedTask | None = None
        self._deferred: list[Callable[[], object]] | None = None
        self.cancelled = False

    def bind(
        self,
        deadline: float,
        timings: Timings,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        """Say until when to wait, and what to do before and after the thread is blocked."""
        self._deadline, self._timings = deadline, timings
        self._pause, self._resume = pause, resume
        self._deferred = []

    def defer(self, callback: Callable[[], object]) -> bool:
        """Have a chore of the call done once its caller has the response; False: do it now."""
        if self._deferred is None:
            return False
        self._deferred.append(callback)
        return True

    def run_deferred(self) -> None:
        """Do what was put off."""
        callbacks, self._deferred = self._deferred or (), None
        for callback in callbacks:
            callback()

    def cancel(self) -> None:
        """Wake the thread, because its caller is gone. On the event loop only."""
        self.cancelled = True
        if self._task is not None:
            self._task.cancel()

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """Return what the work returns, or raise what it raises. Raises DeadlineExceeded."""
        started = time.monotonic()
        if self.cancelled or started >= self._deadline:
            work.close()
            raise DeadlineExceeded
        task = self._task = _BridgedTask(work, self._loop)
        if self._pause is not None:
            self._pause()
        try:
            result: T = task.result(self._deadline - started)
            return result
        finally:
            self._task = None
            if self._timings is not None:
                self._timings.waiting += time.monotonic() - started
            if self._resume is not None:
                self._resume()


class _BridgedTask:
    """Work that a thread waits for."""

    __slots__ = ("_cancelled", "_done", "_loop", "_scope", "_task", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any], loop: AbstractEventLoop) -> None:
        self._work, self._loop = work, loop
        self._task: asyncio.Task[Any] | None = None
        self._scope: CancelScope | None = None
        self._cancelled = False
        self._done = threading.Lock()
        self._done.acquire()

    def result(self, seconds: float) -> Any:
        try:
            self._loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            self._work.close()
            raise DeadlineExceeded from None
        if not self._done.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            self._cancelled = True
            self._loop.call_soon_threadsafe(self.cancel)
            raise DeadlineExceeded
        if self._cancelled or self._task is None or self._task.cancelled():
            raise DeadlineExceeded
        return self._task.result()

    def cancel(self) -> None:
        """Cancel the work and wake the thread; on the loop."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()
        else:
            self._work.close()
            if self._task is not None:
                self._task.cancel()
        self._wake()

    def _start(self) -> None:
        if self._cancelled:
            self._work.close()
            return
        self._task = self._loop.create_task(self._run_in_scope())
        self._task.add_done_callback(self._on_done)

    async def _run_in_scope(self) -> Any:
        with CancelScope() as self._scope:
            return await self._work
        raise DeadlineExceeded

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            # Looked at here, since the thread may have gone on.
            task.exception()
        self._wake()

    def _wake(self) -> None:
        if self._done.locked():
            self._done.release()


MAX_BYTES = 256 << 10
"""Bytes that are read of a stream in a call; the rest is counted and dropped."""
MAX_LINES = 1_000
"""Lines that are passed on of a stream in a call."""
MAX_LINE_BYTES = 8 << 10


class OutputCapture:
    """Both streams of the guest that runs on this thread."""

    def __init__(self) -> None:
        self._streams = (_Stream("stdout", "info"), _Stream("stderr", "error"))

    @property
    def paths(self) -> tuple[bytes, bytes]:
        """The files for output and error."""
        output, error = self._streams
        return output.path, error.path

    def start(self) -> None:
        """Forget what was there."""
        for stream in self._streams:
            stream.start()

    def drain(self, invocation: Invocation) -> None:
        """Pass on the lines that have ended since the last time."""
        for stream in self._streams:
            stream.drain(invocation)

    def end(self, invocation: Invocation) -> None:
        """Emit the rest, and a line about dropped bytes."""
        for stream in self._streams:
            stream.drain(invocation)
            stream.end(invocation)


class _Stream:
    def __init__(self, name: Literal["stdout", "stderr"], level: Level) -> None:
        self._name, self._level = name, level
        self._file = memory_file(f"guest-{name}")
        self.path = f"/proc/self/fd/{self._file}".encode()
        self._reset()

    def start(self) -> None:
        if self._read or os.fstat(self._file).st_size:
            os.ftruncate(self._file, 0)
            self._reset()

    def _reset(self) -> None:
        self._read, self._bytes_left, self._dropped, self._partial_line = 0, MAX_BYTES, 0, b""
        self._lines_left = MAX_LINES

    def drain(self, invocation: Invocation) -> None:
        size = os.fstat(self._file).st_size
        new = size - self._read
        if new <= 0:
            return
        data = os.pread(self._file, min(new, self._bytes_left), self._read)
        self._bytes_left -= len(data)
        self._dropped += new - len(data)
        self._read = size
        if size > MAX_BYTES:
            # The guest goes on at its own place: what comes before it takes no memory then.
            os.ftruncate(self._file, 0)
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        for line in lines:
            self._emit_split(invocation, line)
        if len(self._partial_line) > MAX_LINE_BYTES:
            self._emit_split(invocation, self._partial_line)
            self._partial_line = b""

    def end(self, invocation: Invocation) -> None:
        self._emit_split(invocation, self._partial_line)
        if self._dropped:
            self._emit(invocation, f"[{self._dropped} bytes of {self._name} were dropped]")

    def _emit_split(self, invocation: Invocation, line: bytes) -> None:
        line = line.rstrip(b"\r")
        for first in range(0, len(line), MAX_LINE_BYTES):
            part = line[first : first + MAX_LINE_BYTES]
            if self._lines_left:
                self._lines_left -= 1
                self._emit(invocation, part.decode("utf-8", "replace"))
            else:
                self._dropped += len(part)

    def _emit(self, invocation: Invocation, text: str) -> None:
        if self._name == "stderr":
            invocation.record_stderr(text)
        invocation.log(self._name, self._level, text)

    def __del__(self) -> None:
        os.close(self._file)


_logger = logging.getLogger(__name__)

DENIED = (
    "{name} is not granted: it would bypass EXT_EGRESS_ALLOWLIST; "
    "use fetch of alga:extension/http instead"
)


@dataclass(slots=True)
class ActiveCall:
    """A call under way. `fault` is the first thing that went wrong outside of the guest."""

    invocation: Invocation
    capture: OutputCapture | None = None
    fault: BaseException | None = None
    function: str = ""
    """The function whose fault it was."""
    budget: MemoryBudget | None = None
    growth: MemoryGrowth | None = None

    @property
    def expired(self) -> bool:
        """Whether there is no use in going on."""
        wait = self.invocation.wait
        if isinstance(wait, LoopBridge) and wait.cancelled:
            return True
        return time.monotonic() >= self.invocation.deadline

    def tick(self) -> bytes | None:
        """Check deadline and memory, emit captured lines. Returns a text to end the guest with."""
        try:
            if self.expired:
                raise DeadlineExceeded
            if self.budget is not None and self.growth is not None:
                self.budget.check(self.growth)
            if self.capture is not None:
                self.capture.drain(self.invocation)
        except BaseException as error:
            return self.fail(error, "a tick")
        return None

    def fail(self, error: BaseException, function: str) -> bytes:
        """Keep what went wrong for the end of the call. Returns a message to end the guest with."""
        if self.fault is None:
            self.fault, self.function = error, function
            if isinstance(error, Exception) and not isinstance(
                error, DeadlineExceeded | GuestFailure
            ):
                fields = {
                    "request_id": self.invocation.request_id,
                    "tenant": self.invocation.tenant,
                    "extension": self.invocation.extension,
                    "function": function,
                }
                _logger.error("host function failed", exc_info=error, extra={"fields": fields})
        if isinstance(error, DeadlineExceeded):
            return INTERRUPT.encode()
        if isinstance(error, GuestFailure):
            return error.reason.encode()
        return b"a host function failed"


class ThreadContext(threading.local):
    """The call under way on this thread, and what the thread keeps between calls."""

    call: ActiveCall | None = None
    capture: OutputCapture | None = None


def denied_failure(name: str) -> GuestFailure:
    """Return the failure of a guest that used what is linked but never granted."""
    return GuestFailure(FailureKind.REFUSED, DENIED.format(name=name))


Callback = Callable[..., int | None]
