"""One piece of work for all who want its result at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Work under way, by key. A result is shared with those who wait for it and then forgotten.

    So is a failure: the next one to ask starts anew. The work goes on when a waiter leaves.
    """

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def join(self, key: K, start: Callable[[], Coroutine[object, object, V]]) -> V:
        """Wait for the work under way for `key`, which `start` begins when there is none."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(start())
            self._under_way[key] = task
            task.add_done_callback(lambda ended: self._land(key, ended))
        return await asyncio.shield(task)

    def _land(self, key: K, ended: asyncio.Task[V]) -> None:
        del self._under_way[key]
        if not ended.cancelled():
            # Looked at here, since all who waited may have left.
            ended.exception()
