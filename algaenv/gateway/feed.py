"""What happened lately, for the panel beside a page and for whoever watches.

An event is a JSON object. `say` adds `id` (counting up) and `at` (Unix time in ms). Every event
has `type`, and `extension` (registry id) where it belongs to one; those that do not go to all.

| `type` | also has |
|---|---|
| `call-started` | `request_id gateway method path user` |
| `call-ended` | the same and `status ms`; where known `runner_ms error reason code summary hint` |
| `guest-failure` | `request_id kind reason causes stderr` |
| `page-error` | `path summary hint`: a file of the page was answered with the page |
| `product-fault` | `name summary` and where known `request_id` |

Other rooms say more types; watchers pass over what they do not know.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

KEPT = 1_000
MOST_WAITING = 1_000
"""Events that a watcher may fall behind; older ones are lost to it."""

Event = Mapping[str, object]


class Feed:
    """The last events, and everybody who waits for the next one. For one event loop."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._last = 0
        self._watchers: set[_Watcher] = set()
        self.ended = False
        """No watcher is told anything more; the service is about to stop."""

    def end(self) -> None:
        """Let every watcher go, so that nobody keeps the service from stopping."""
        self.ended = True
        for watcher in self._watchers:
            watcher.hear(None)

    def say(self, event: Event) -> None:
        """Tell everybody. Never waits and never fails."""
        self._last += 1
        told = {"id": self._last, "at": int(time.time() * 1000), **event}
        self._kept.append(told)
        for watcher in self._watchers:
            watcher.hear(told)

    def recent(self, extension: str | None = None, after: int = 0) -> list[Event]:
        """Those kept that came after the event of this id, oldest first."""
        return [it for it in self._kept if int(str(it["id"])) > after and _concerns(it, extension)]

    async def watch(self, extension: str | None = None, after: int = 0) -> AsyncIterator[Event]:
        """Those kept that came after the event of this id, then each one as it comes, until the
        service stops."""
        watcher = _Watcher(extension)
        self._watchers.add(watcher)
        try:
            for event in self.recent(extension, after):
                yield event
            while not self.ended and (told := await watcher.next()) is not None:
                yield told
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self, extension: str | None) -> None:
        self._extension = extension
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(MOST_WAITING)

    def hear(self, event: Event | None) -> None:
        if event is None or _concerns(event, self._extension):
            if self._waiting.full():
                with suppress(asyncio.QueueEmpty):
                    self._waiting.get_nowait()
            self._waiting.put_nowait(event)

    async def next(self) -> Event | None:
        return await self._waiting.get()


def _concerns(event: Event, extension: str | None) -> bool:
    return extension is None or event.get("extension") in {None, extension}
