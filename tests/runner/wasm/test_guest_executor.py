"""The executor bounds what runs, and no call waits for one that is over."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from algaenv.runner.execute.invocation import DeadlineExceeded, Invocation
from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from algaenv.runner.wasm.guest import GuestLoader
from algaenv.runner.wasm.guest_executor import ExecutorBusy, ExecutorClosed, GuestExecutor, _Job
from algaenv.runner.wasm.guest_limits import Ticker

from .components import handler
from .stage import MEMORY, ComponentCompiler, invocation, request

Make = Callable[..., GuestLoader]


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)


def executor_of(threads: int = 4, queue: int = 100, ticker: Ticker | None = None) -> GuestExecutor:
    return GuestExecutor(threads=threads, queue=queue, ticker=ticker or Ticker())


def call_of(executor: GuestExecutor, seconds: float = 20, token: str = "r-1") -> Invocation:
    return invocation(seconds=seconds, wait=executor.waiter(), token=token)


def test_results_and_errors_reach_who_asked() -> None:
    async def main() -> None:
        executor = executor_of()

        def work(number: int) -> int:
            if number % 3 == 0:
                raise ValueError(number)
            return number

        async def one(number: int) -> object:
            try:
                return await executor.run(lambda: work(number), call_of(executor))
            except ValueError as error:
                return error.args[0]

        assert await asyncio.gather(*map(one, range(90))) == list(range(90))
        await executor.close()
        with pytest.raises(ExecutorClosed):
            await executor.run(lambda: 1, call_of(executor))

    asyncio.run(main())


def test_waiting_gives_up_the_turn() -> None:
    """Sixteen calls that wait for each other: none could end if they ran one after another."""

    async def main() -> None:
        executor = executor_of(threads=16)
        all_here = asyncio.Barrier(16)

        def work(call: Invocation) -> str:
            call.wait(all_here.wait())
            return "met"

        calls = [call_of(executor) for _ in range(16)]
        met = await asyncio.gather(*[executor.run(partial(work, c), c) for c in calls])
        assert met == ["met"] * 16
        assert all(call.timings.waiting > 0 for call in calls)
        await executor.close()

    asyncio.run(main())


def test_what_work_on_the_loop_raises() -> None:
    async def main() -> None:
        executor = executor_of()

        async def fail() -> None:
            raise LookupError("x")

        call = call_of(executor)
        with pytest.raises(LookupError):
            await executor.run(lambda: call.wait(fail()), call)
        await executor.close()

    asyncio.run(main())


def test_the_deadline_cancels_what_is_waited_for() -> None:
    async def main() -> None:
        executor = executor_of()
        cancelled = asyncio.Event()

        async def for_ever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        call = call_of(executor, seconds=0.05)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await executor.run(lambda: call.wait(for_ever()), call)
        assert time.monotonic() - started < 0.15
        await asyncio.wait_for(cancelled.wait(), 5)
        with pytest.raises(DeadlineExceeded):
            await asyncio.to_thread(call.wait, for_ever())
        await executor.close()

    asyncio.run(main())


def test_a_caller_who_leaves_while_it_waits() -> None:
    async def main() -> None:
        executor = executor_of()
        under_way, cancelled = asyncio.Event(), asyncio.Event()
        seen: list[BaseException] = []

        async def for_ever() -> None:
            under_way.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        call = call_of(executor)

        def work() -> None:
            try:
                call.wait(for_ever())
            except DeadlineExceeded as error:
                seen.append(error)
                raise

        task = asyncio.create_task(executor.run(work, call))
        await under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), 5)
        await until(lambda: bool(seen) and executor.running == 0)
        assert executor.stuck == 0
        await executor.close()

    asyncio.run(main())


def test_busy_past_the_queue_and_nothing_lost() -> None:
    async def main() -> None:
        executor = executor_of(threads=2, queue=3)
        gate = asyncio.Event()
        ran: list[int] = []

        async def one(number: int, seconds: float = 20) -> None:
            call = call_of(executor, seconds)

            def work() -> None:
                ran.append(number)
                call.wait(gate.wait())

            await executor.run(work, call)

        tasks = [asyncio.create_task(one(number)) for number in range(4)]
        await until(lambda: executor.running == 2 and executor.waiting == 2)
        late = asyncio.create_task(one(4, seconds=0.05))
        await until(lambda: executor.waiting == 3)
        with pytest.raises(ExecutorBusy) as caught:
            await one(5)
        assert caught.value.retry_after >= 1
        with pytest.raises(GuestFailure) as expired:
            await late
        assert expired.value.kind is FailureKind.TIMEOUT
        tasks[3].cancel()
        await asyncio.wait([tasks[3]])
        assert executor.waiting == 1
        gate.set()
        await asyncio.gather(*tasks[:3])
        assert sorted(ran) == [0, 1, 2]
        await executor.close()

    asyncio.run(main())


def test_a_caller_who_leaves_a_loop(make: Make, compiler: ComponentCompiler) -> None:
    guests = make()
    guest = compiler.load(guests, handler("(loop $l (br $l)) unreachable"))

    async def main() -> None:
        executor = executor_of(ticker=guests.ticker)
        call = call_of(executor)
        task = asyncio.create_task(
            executor.run(lambda: guest.call(call, request(), memory_bytes=MEMORY), call)
        )
        await until(lambda: executor.running == 1)
        started = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: executor.running == 0)
        assert time.monotonic() - started < 1
        await executor.close()

    asyncio.run(main())


def test_quick_calls_do_not_wait_for_a_loop(make: Make, compiler: ComponentCompiler) -> None:
    guests = make()
    endless = compiler.load(guests, handler("(loop $l (br $l)) unreachable"))
    quick = compiler.load(guests, handler())

    async def main() -> None:
        executor = executor_of(ticker=guests.ticker)

        async def one(guest: Any, seconds: float) -> float:
            call = call_of(executor, seconds)
            started = time.monotonic()
            running = executor.run(lambda: guest.call(call, request(), memory_bytes=MEMORY), call)
            if guest is endless:
                with pytest.raises(GuestFailure) as caught:
                    await running
                assert caught.value.kind is FailureKind.TIMEOUT
            else:
                assert (await running)["status"] == 200
            return time.monotonic() - started

        loops = [asyncio.create_task(one(endless, 0.5)) for _ in range(2)]
        await until(lambda: executor.running == 2)
        assert max([await one(quick, 5) for _ in range(20)]) < 0.2
        assert all(0.5 <= spent < 0.75 for spent in await asyncio.gather(*loops))
        await executor.close()

    asyncio.run(main())


def test_a_guest_that_sleeps_inside_the_engine(
    make: Make, compiler: ComponentCompiler, script_bytes: bytes
) -> None:
    guests = make()
    guest = compiler.load(guests, script_bytes)
    asleep = request(json.dumps({"then": {"sleep": 600}}).encode())

    async def main() -> None:
        executor = executor_of(threads=2, ticker=guests.ticker)
        one, two = (call_of(executor, 0.1) for _ in range(2))
        started = time.monotonic()
        failures = await asyncio.gather(
            *[
                executor.run(partial(guest.call, c, asleep, memory_bytes=MEMORY), c)
                for c in (one, two)
            ],
            return_exceptions=True,
        )
        assert time.monotonic() - started < 0.4
        assert [failure.kind for failure in failures if isinstance(failure, GuestFailure)] == [
            FailureKind.TIMEOUT
        ] * 2
        assert executor.stuck == 2
        call = call_of(executor)
        answer = await executor.run(
            lambda: guest.call(call, request(b"{}"), memory_bytes=MEMORY), call
        )
        assert answer["status"] == 200
        await until(lambda: executor.stuck == 0)
        await executor.close()

    asyncio.run(main())


def test_one_lane_serves_those_that_never_wait() -> None:
    async def main() -> None:
        executor = executor_of(threads=8)
        names: set[str] = set()

        def work() -> None:
            names.add(threading.current_thread().name)

        await asyncio.gather(*[executor.run(work, call_of(executor)) for _ in range(100)])
        assert len(names) == 1
        await executor.close()

    asyncio.run(main())


def test_the_ticker_rests() -> None:
    ticks: list[float] = []
    ticker = Ticker()
    ticker.add(lambda: ticks.append(time.monotonic()))
    with ticker:
        deadline = time.monotonic() + 5
        while len(ticks) < 3 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    assert len(ticks) >= 3
    deadline = time.monotonic() + 10
    while not ticker._sleeping and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    count = len(ticks)
    threading.Event().wait(0.1)
    assert len(ticks) == count
    with ticker:
        deadline = time.monotonic() + 5
        while len(ticks) == count and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    assert len(ticks) > count
    ticker.close()


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_lane_is_written_off_once(leaves_first: bool) -> None:
    """Its time is over and its caller leaves, in either order; it sleeps where nothing ends it."""

    async def main() -> None:
        executor = executor_of()
        begun, released = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            released.wait(20)

        call = call_of(executor, seconds=20 if leaves_first else 0.05)
        task = asyncio.create_task(executor.run(work, call))
        await until(begun.is_set)
        if leaves_first:
            task.cancel()
        await until(lambda: executor.stuck == 1)
        (job,) = written_off()
        executor._abandon(job)  # as a timer of the other kind does
        assert (executor.stuck, executor.running) == (1, 0)
        released.set()
        await until(lambda: executor.stuck == 0)
        assert executor.running == 0
        await asyncio.gather(task, return_exceptions=True)
        await executor.close()

    asyncio.run(main())


def written_off() -> list[Any]:
    """Calls whose threads do not count at the moment."""
    known = [each for each in gc.get_objects() if isinstance(each, _Job)]
    return [each for each in known if each.written_off and not each.finished]
