"""One read for all callers of the same key, and never one that began before they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class CoalescedReads(Generic[K, V]):
    """Reads by key, one of each key at a time.

    While one is under way, later callers wait for the next: their result is as new as that of a
    read of their own. Nothing is kept after that.
    """

    def __init__(self, read: Callable[[K], Awaitable[V]]) -> None:
        self._read = read
        self._reading: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """What a read that begins from now on says. Raises what it raises."""
        task = self._next.get(key)
        if task is None:
            before = self._reading.get(key)
            task = asyncio.create_task(self._after(key, before))
            (self._reading if before is None else self._next)[key] = task
        # One who goes away does not take the read from the others.
        return await asyncio.shield(task)

    async def _after(self, key: K, before: asyncio.Task[V] | None) -> V:
        if before is not None:
            await asyncio.wait((before,))
            self._reading[key] = self._next.pop(key)
        try:
            return await self._read(key)
        finally:
            if key not in self._next:
                del self._reading[key]
