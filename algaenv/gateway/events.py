"""The event bus: what happened lately, for the panel beside a page and all other subscribers.

An event is a JSON object. `publish` adds `id` (counting up) and `at` (Unix time in ms). Every event
has `type`, and `extension` (registry id) where it belongs to one; those that do not go to all.

| `type` | also has |
|---|---|
| `call-started` | `request_id gateway method path user` |
| `call-ended` | the same, `status ms`; if known `runner_ms trace error reason code summary hint` |
| `host-call` | `install api operation about status ms`, where known `request_id error` |
| `guest-failure` | `request_id kind reason causes stderr` |
| `page-error` | `path summary hint`: a file of the page was answered with the page |
| `product-fault` | `name summary` and where known `request_id` |
| `dev-turn` | what `algaenv.gateway.dev_turns.DevTurn` has, and `replaces` |
| `dev-ended` | `reason` |

`trace` is what our runner tells of the call: `algaenv.gateway.runner_client.HandlerResult.trace`.
Other modules publish more types; subscribers ignore what they do not know.
`EventStream` sends the events to browsers as `text/event-stream`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

HISTORY_SIZE = 1_000
QUEUE_SIZE = 1_000
"""Events that wait for one subscriber; it loses older ones."""

Event = Mapping[str, object]


class EventBus:
    """The last events, and the subscribers to the next ones. For one event loop."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=HISTORY_SIZE)
        self._last = 0
        self._subscribers: set[_Subscriber] = set()
        self.closed = False
        """Subscriptions have ended; the service is about to stop."""

    def close(self) -> None:
        """End all subscriptions, which would keep the service from stopping."""
        self.closed = True
        for subscriber in self._subscribers:
            subscriber.deliver(None)

    @property
    def last_id(self) -> int:
        """The id of the last event; 0 before the first."""
        return self._last

    def publish(self, event: Event) -> None:
        """Queue an event for every subscriber. Never waits and never fails."""
        self._last += 1
        stamped = {"id": self._last, "at": int(time.time() * 1000), **event}
        self._kept.append(stamped)
        for subscriber in self._subscribers:
            subscriber.deliver(stamped)

    def recent(self, extension: str | None = None, after: int = 0) -> list[Event]:
        """Those kept that came after the event of this id, oldest first."""
        return [it for it in self._kept if int(str(it["id"])) > after and _concerns(it, extension)]

    async def subscribe(self, extension: str | None = None, after: int = 0) -> AsyncIterator[Event]:
        """Those kept that came after the event of this id, then each one as it comes, until the
        service stops. An id that has not been given yet is one of a service before this one."""
        if after > self._last:
            after = 0
        subscriber = _Subscriber(extension)
        self._subscribers.add(subscriber)
        try:
            for event in self.recent(extension, after):
                yield event
            while not self.closed and (stamped := await subscriber.next()) is not None:
                yield stamped
        finally:
            self._subscribers.discard(subscriber)


class _Subscriber:
    def __init__(self, extension: str | None) -> None:
        self._extension = extension
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE_SIZE)

    def deliver(self, event: Event | None) -> None:
        if event is None or _concerns(event, self._extension):
            if self._waiting.full():
                with suppress(asyncio.QueueEmpty):
                    self._waiting.get_nowait()
            self._waiting.put_nowait(event)

    async def next(self) -> Event | None:
        return await self._waiting.get()


def _concerns(event: Event, extension: str | None) -> bool:
    return extension is None or event.get("extension") in {None, extension}


KEEPALIVE_SECONDS = 15.0
"""After so long without an event a comment is sent: it shows that a browser has left."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}

SSE_ID = "$id"
"""A key of an event whose text is the id of its message, and which is not sent."""


def sse_response(events: AsyncIterator[Mapping[str, object]]) -> Response:
    """One event a message; SSE_ID or a number under `id` becomes its id, which browsers repeat when
    they return."""
    return StreamingResponse(_encode_events(events), headers=_HEADERS)


class EventStream:
    """`/algaenv/events?extension=`: the events, beginning with those that are kept."""

    def __init__(self, events: EventBus) -> None:
        self._events = events

    async def respond(self, request: Request) -> Response:
        """Begins after `Last-Event-ID`, or after the query's `after`."""
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 16 else 0
        return sse_response(self._events.subscribe(request.query_params.get("extension"), after))


async def _encode_events(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    yield b": hello\n\n"
    pending: asyncio.Future[Event] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({pending}, timeout=KEEPALIVE_SECONDS)
            if not done:
                yield b":\n\n"
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            yield _message(event)
    finally:
        if pending is not None:
            pending.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await pending
        if hasattr(events, "aclose"):
            await events.aclose()


def _message(event: Event) -> bytes:
    fields = {name: value for name, value in event.items() if name != SSE_ID}
    id_ = event.get(SSE_ID) or event.get("id")
    named = f"id: {id_}\n" if SSE_ID in event or isinstance(id_, int) else ""
    return f"{named}data: {_encode(fields)}\n\n".encode(errors="replace")
