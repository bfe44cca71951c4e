"""Events for browsers, as they come: `text/event-stream`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from algaenv.gateway.feed import Event, Feed

PULSE_SECONDS = 15.0
"""After so long without an event a comment is sent: it shows that a browser has left."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def stream(events: AsyncIterator[Mapping[str, object]]) -> Response:
    """One event a message; a key `id` becomes its id, which browsers repeat when they return."""
    return StreamingResponse(_framed(events), media_type="text/event-stream", headers=_HEADERS)


class FeedStream:
    """`/algaenv/events?extension=`: the feed, from what is kept on."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def answer(self, request: Request) -> Response:
        """Begins after `Last-Event-ID`, or after the query's `after`."""
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 16 else 0
        return stream(self._feed.watch(request.query_params.get("extension"), after))


async def _framed(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    yield b": hello\n\n"
    coming: asyncio.Future[Event] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({coming}, timeout=PULSE_SECONDS)
            if not done:
                yield b":\n\n"
                continue
            try:
                event = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield _message(event)
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await coming
        if hasattr(events, "aclose"):
            await events.aclose()


def _message(event: Event) -> bytes:
    named = f"id: {event['id']}\n" if isinstance(event.get("id"), int) else ""
    return f"{named}data: {_encode(event)}\n\n".encode(errors="replace")
