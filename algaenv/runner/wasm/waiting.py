"""How a guest's thread waits for work on the event loop.

The thread wakes when the work has ended, at the deadline, or when the caller has left, whichever
is first; in the last two cases the work is cancelled, in the way that the HTTP client can bear (see
`algaenv.runner.outbound`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CancelScope

from algaenv.runner.invocation import Expired, Spent

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")


class Wait:
    """The Waiter of one call. `Lanes.waiter` makes it, and `Lanes.run` says what it is about.

    `left`: whether the caller has gone; a guest is ended at its next tick then.
    """

    __slots__ = (
        "_deadline", "_later", "_loop", "_pause", "_resume", "_spent", "_under_way", "left",
    )  # fmt: skip

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._deadline = float("inf")
        self._spent: Spent | None = None
        self._pause: Callable[[], None] | None = None
        self._resume: Callable[[], None] | None = None
        self._under_way: _Errand | None = None
        self._later: list[Callable[[], object]] | None = None
        self.left = False

    def bind(
        self,
        deadline: float,
        spent: Spent,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        """Say until when to wait, and what to do before and after the thread is blocked."""
        self._deadline, self._spent = deadline, spent
        self._pause, self._resume = pause, resume
        self._later = []

    def put_off(self, chore: Callable[[], object]) -> bool:
        """Have a chore of the call done once its caller has the answer; False: do it now."""
        if self._later is None:
            return False
        self._later.append(chore)
        return True

    def clear_away(self) -> None:
        """Do what was put off."""
        chores, self._later = self._later or (), None
        for chore in chores:
            chore()

    def leave(self) -> None:
        """Wake the thread, since nobody waits for it. On the event loop only."""
        self.left = True
        if self._under_way is not None:
            self._under_way.abandon()

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """Return what the work returns, or raise what it raises. Raises Expired."""
        started = time.monotonic()
        if self.left or started >= self._deadline:
            work.close()
            raise Expired
        errand = self._under_way = _Errand(work, self._loop)
        if self._pause is not None:
            self._pause()
        try:
            result: T = errand.result(self._deadline - started)
            return result
        finally:
            self._under_way = None
            if self._spent is not None:
                self._spent.waiting += time.monotonic() - started
            if self._resume is not None:
                self._resume()


class _Errand:
    """Work that a thread waits for."""

    __slots__ = ("_abandoned", "_ended", "_loop", "_scope", "_task", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any], loop: AbstractEventLoop) -> None:
        self._work, self._loop = work, loop
        self._task: asyncio.Task[Any] | None = None
        self._scope: CancelScope | None = None
        self._abandoned = False
        self._ended = threading.Lock()
        self._ended.acquire()

    def result(self, seconds: float) -> Any:
        try:
            self._loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            self._work.close()
            raise Expired from None
        if not self._ended.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            self._abandoned = True
            self._loop.call_soon_threadsafe(self.abandon)
            raise Expired
        if self._abandoned or self._task is None or self._task.cancelled():
            raise Expired
        return self._task.result()

    def abandon(self) -> None:
        """Cancel the work and wake the thread; on the loop."""
        self._abandoned = True
        if self._scope is not None:
            self._scope.cancel()
        else:
            self._work.close()
            if self._task is not None:
                self._task.cancel()
        self._wake()

    def _start(self) -> None:
        if self._abandoned:
            self._work.close()
            return
        self._task = self._loop.create_task(self._within())
        self._task.add_done_callback(self._land)

    async def _within(self) -> Any:
        with CancelScope() as self._scope:
            return await self._work
        raise Expired

    def _land(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            # Looked at here, since the thread may have gone on.
            task.exception()
        self._wake()

    def _wake(self) -> None:
        if self._ended.locked():
            self._ended.release()
