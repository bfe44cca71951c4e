"""So many at a time, in the order in which they came, whatever happens to those before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from algaenv.runner.components.compiler import CompileQueue

HOLDER = """
import asyncio, sys
from pathlib import Path
from algaenv.runner.components.compiler import CompileQueue

async def main():
    folder, temporary = map(Path, sys.argv[1:])
    async with CompileQueue(folder, 1, temporary=temporary).slot():
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[[int], CompileQueue]:
    for name in ("queue", "tmp"):
        (tmp_path / name).mkdir()
    return lambda count: CompileQueue(tmp_path / "queue", count, temporary=tmp_path / "tmp")


def tickets(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "queue").glob("ticket.*"))


async def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def holder(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "queue"), str(tmp_path / "tmp")],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_never_more_than_there_are(tmp_path: Path, make: Callable[[int], CompileQueue]) -> None:
    async def work() -> int:
        held = most = 0

        async def one(slots: CompileQueue) -> None:
            nonlocal held, most
            async with slots.slot():
                held += 1
                most = max(most, held)
                await asyncio.sleep(0.01)
                held -= 1

        processes = [make(2) for _ in range(3)]
        await asyncio.gather(*(one(slots) for slots in processes for _ in range(4)))
        return most

    assert asyncio.run(work()) == 2
    assert tickets(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_first_come_first_served(tmp_path: Path, make: Callable[[int], CompileQueue]) -> None:
    async def work() -> list[int]:
        order: list[int] = []
        free = asyncio.Event()

        async def one(number: int, slots: CompileQueue) -> None:
            async with slots.slot():
                order.append(number)
                await free.wait()

        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(one(number, make(1))))
            await until(lambda: order and len(tickets(tmp_path)) == len(tasks) - 1)
        free.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(work()) == [0, 1, 2, 3]


def test_those_who_leave_or_die_hold_up_nobody(
    tmp_path: Path, make: Callable[[int], CompileQueue]
) -> None:
    async def work() -> None:
        with holder(tmp_path) as first:
            assert first.stdout
            # The first has a ticket too, until it has its slot.
            assert await asyncio.to_thread(first.stdout.readline) == "held\n"
            with holder(tmp_path) as second:
                try:
                    await until(lambda: len(tickets(tmp_path)) == 1)
                    leaving = asyncio.create_task(make(1)._acquire())
                    await until(lambda: len(tickets(tmp_path)) == 2)
                    last = asyncio.create_task(make(1)._acquire())
                    await until(lambda: len(tickets(tmp_path)) == 3)
                    leaving.cancel()
                    await until(leaving.done)
                    assert len(tickets(tmp_path)) == 2
                    assert not last.done()
                finally:
                    first.kill()
                    second.kill()
        await asyncio.wait_for(last, 20)

    asyncio.run(work())
    assert tickets(tmp_path) == []


def test_a_queue_that_is_removed(tmp_path: Path, make: Callable[[int], CompileQueue]) -> None:
    async def work() -> None:
        async with make(1).slot():
            waiting = asyncio.create_task(make(1)._acquire())
            await until(lambda: tickets(tmp_path))
            tickets(tmp_path)[0].unlink()
            with pytest.raises(FileNotFoundError):
                await waiting

    asyncio.run(work())
