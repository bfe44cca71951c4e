"""Reads that callers share: as new as their own would be, and each of them gets its answer."""

from __future__ import annotations

import asyncio

import pytest

from algaenv.serving.coalesced_reads import CoalescedReads


class Source:
    """A value whose reads wait for the test; `begun` counts the reads of each key."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.value = 0
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, key: str) -> int:
        self.begun.append(key)
        seen = self.value
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return seen


async def _rest() -> None:
    """Let everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_those_who_come_later_are_told_what_is_newer() -> None:
    async def scene() -> None:
        source = Source()
        shared = CoalescedReads(source.read)
        first = asyncio.create_task(shared.get("a"))
        await _rest()
        source.value = 1
        later = [asyncio.create_task(shared.get("a")) for _ in range(5)]
        other = asyncio.create_task(shared.get("b"))
        await _rest()
        assert source.begun == ["a", "b"]
        source.open.set()
        assert await first == 0
        assert await asyncio.gather(*later) == [1] * 5
        assert await other == 1
        assert source.begun == ["a", "b", "a"]
        source.value = 2
        assert await shared.get("a") == 2

    asyncio.run(scene())


def test_an_error_is_told_to_all_and_is_over() -> None:
    async def scene() -> None:
        source = Source()
        shared = CoalescedReads(source.read)
        callers = [asyncio.create_task(shared.get("a")) for _ in range(3)]
        await _rest()
        source.error = ValueError("no")
        source.open.set()
        response = await asyncio.gather(*callers, return_exceptions=True)
        assert [str(each) for each in response] == ["no"] * 3
        source.error = None
        assert await shared.get("a") == 0

    asyncio.run(scene())


def test_who_goes_away_takes_nothing_along() -> None:
    async def scene() -> None:
        source = Source()
        shared = CoalescedReads(source.read)
        callers = [asyncio.create_task(shared.get("a")) for _ in range(4)]
        await _rest()
        for each in callers[:2]:
            each.cancel()
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
        source.open.set()
        assert await asyncio.gather(*callers[2:]) == [0, 0]

    asyncio.run(scene())


def test_as_many_as_like() -> None:
    async def scene() -> None:
        source = Source()
        source.open.set()
        shared = CoalescedReads(source.read)

        async def caller() -> None:
            for _ in range(50):
                before = source.value
                source.value += 1
                assert await shared.get("a") > before
                await asyncio.sleep(0)

        await asyncio.gather(*(caller() for _ in range(20)))
        assert len(source.begun) < 20 * 50 / 2

    asyncio.run(scene())
