"""A thread that waits for the event loop, and what becomes of the work when it is given up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from anyio import CancelScope

from algaenv.runner.execute.invocation import DeadlineExceeded, Timings
from algaenv.runner.wasm.active_call import LoopBridge


def waiting(loop: asyncio.AbstractEventLoop, seconds: float) -> LoopBridge:
    def nothing() -> None:
        """Nobody takes turns here."""

    wait = LoopBridge(loop)
    wait.bind(time.monotonic() + seconds, Timings(), pause=nothing, resume=nothing)
    return wait


class Work:
    """It tidies up behind a shield, as the HTTP client does when it closes connections."""

    def __init__(self) -> None:
        self.shielded = threading.Event()
        self.may_end = asyncio.Event()
        self.tidy = threading.Event()
        self.went_on = False

    async def __call__(self) -> None:
        with CancelScope(shield=True):
            self.shielded.set()
            await self.may_end.wait()
            self.tidy.set()
        await asyncio.sleep(0)
        self.went_on = True


def run(story: Callable[[asyncio.AbstractEventLoop], object]) -> None:
    """Tell a story on a thread, beside a loop."""

    async def main() -> None:
        await asyncio.to_thread(story, asyncio.get_running_loop())

    asyncio.run(main())


def test_the_deadline_lets_it_tidy_up() -> None:
    work = Work()

    def story(loop: asyncio.AbstractEventLoop) -> None:
        with pytest.raises(DeadlineExceeded):
            waiting(loop, 0.05)(work())
        assert work.shielded.is_set()
        loop.call_soon_threadsafe(work.may_end.set)
        assert work.tidy.wait(10)

    run(story)
    assert not work.went_on


def test_a_caller_that_leaves_lets_it_tidy_up() -> None:
    work = Work()

    def story(loop: asyncio.AbstractEventLoop) -> None:
        wait = waiting(loop, 20)

        def leave() -> None:
            assert work.shielded.wait(10)
            loop.call_soon_threadsafe(wait.cancel)

        leaving = threading.Thread(target=leave)
        leaving.start()
        with pytest.raises(DeadlineExceeded):
            wait(work())
        leaving.join()
        loop.call_soon_threadsafe(work.may_end.set)
        assert work.tidy.wait(10)

    run(story)
    assert not work.went_on


def test_what_never_began_is_closed() -> None:
    begun = []

    async def work() -> None:
        begun.append(1)

    def story(loop: asyncio.AbstractEventLoop) -> None:
        blocked = threading.Event()
        loop.call_soon_threadsafe(lambda: blocked.wait(10))
        with pytest.raises(DeadlineExceeded):
            waiting(loop, 0.05)(work())
        blocked.set()
        wait = waiting(loop, 20)
        wait.cancelled = True
        with pytest.raises(DeadlineExceeded):
            wait(work())

    run(story)
    assert begun == []


def test_results_and_errors_come_back() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise LookupError("x")

    def story(loop: asyncio.AbstractEventLoop) -> None:
        wait = waiting(loop, 20)
        assert wait(answer()) == 7
        with pytest.raises(LookupError):
            wait(fail())
        assert wait(answer()) == 7

    run(story)
