"""The listener of all calls: a line in the service's log, and an event for the debug stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Protocol

from algaenv.runner.guestlog.event import Event, Origin, cut
from algaenv.runner.guestlog.publisher import Publisher
from algaenv.runner.guestlog.settings import StreamSettings
from algaenv.runner.invocation import Invocation, Level, Stream
from algaenv.runner.lines import encode

LONGEST_LINE = 8192
"""Characters of a message in the log of the service, whatever the debug stream takes."""

# Alga's runner says the words of guests under this name too.
_guests = logging.getLogger("ext")
_LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


class Tally(Protocol):
    """Counts what was heard and what was lost; from any thread."""

    def guest_line(self, stream: Stream) -> None:
        """A guest said something."""
        ...

    def events_dropped(self, number: int) -> None:
        """So many events will not be in the debug stream."""
        ...


class GuestLog:
    """Passes on what guests say; what `algaenv.runner.invocation.Listener` asks for.

    Alga's runner sends what guests write to stderr without saying whose it is, and nothing of
    stdout. Here both come with the whole context, as the streams `stderr` and `stdout`.
    """

    def __init__(self, settings: StreamSettings, tally: Tally) -> None:
        self._most = settings.event_bytes
        self._tally = tally
        self._publisher = Publisher(settings, tally.events_dropped)

    def begin(self) -> None:
        """Start to publish, in the process that serves; waits for nobody."""
        self._publisher.begin()

    async def aclose(self) -> None:
        """Publish what is waiting, for a second at most; the rest is dropped."""
        await asyncio.to_thread(self._publisher.end)

    def heard(self, invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
        """Pass on a message of a guest. For any thread; never waits, never fails."""
        with suppress(Exception):
            self._tally.guest_line(stream)
            _write(invocation, stream, level, message)
            if self._publisher.on:
                self._publish(Origin.of(invocation), stream, level, message)

    def publish(self, origin: Origin, message: str) -> None:
        """Put an error of the service itself into the debug stream. For any thread."""
        if self._publisher.on:
            with suppress(Exception):
                self._publish(origin, "log", "error", message)

    def secrets_failed(self, origin: Origin, detail: str) -> None:
        """Tell who debugs that the secrets of a call could not be opened, and why."""
        self.publish(origin, f"secret envelope decryption failed: {detail}")

    def execute_failed(self, origin: Origin, causes: Sequence[str]) -> None:
        """Tell who debugs why a handler did not answer, from the outside to the inside."""
        self.publish(origin, f"execute failed: {': '.join(causes)}")

    def _publish(self, origin: Origin, stream: Stream, level: Level, message: str) -> None:
        content, truncated = cut(message, self._most)
        now = time.time_ns() // 1_000_000
        self._publisher.put(Event(now, level, stream, origin, content, truncated))


def _write(invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
    number = _LEVELS[level]
    if not _guests.isEnabledFor(number):
        return
    origin = _origin(invocation.tenant, invocation.extension, invocation.request_id)
    cut = ', "truncated": true' if len(message) > LONGEST_LINE else ""
    # The event is not the message: no guest can pass its words off as the service's own.
    record = logging.LogRecord(_guests.name, number, "", 0, "guest", (), None)
    # Written out by hand: guests may say much, and all else is the same for a whole call.
    record.rest = (
        f'"logger": "{_guests.name}", "stream": "{stream}", '
        f'"message": {encode(message[:LONGEST_LINE])}, {origin}{cut}'
    )
    _guests.handle(record)


@lru_cache(maxsize=256)
def _origin(tenant: str, extension: str, request_id: str | None) -> str:
    fields = {"tenant": tenant, "extension": extension}
    if request_id is not None:
        fields["request_id"] = request_id
    return encode(fields)[1:-1]
