"""Events that wait to be written: what came first is lost first when there are too many."""

from __future__ import annotations

import threading
from collections import deque

from algaenv.runner.guestlog.event import Event

MOST_BYTES = 16 * 1024 * 1024
"""What all waiting events may take, about: 30,000 short ones, or 2,000 of the longest."""
BATCH = 256

_EVENT_BYTES = 500
"""What an event takes besides its message, about."""
_LINGER_SECONDS = 0.01


class Backlog:
    """A queue from many threads to one that never makes the many wait."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._changing = threading.Lock()
        self._some = threading.Event()
        self.ended = threading.Event()
        """Set when no more events will come; whoever takes ends once it has taken all."""

    def put(self, event: Event) -> int:
        """Add an event; returns how many had to go to make room."""
        gone = 0
        with self._changing:
            self._events.append(event)
            self._bytes += _size(event)
            while self._bytes > self._most:
                self._bytes -= _size(self._events.popleft())
                gone += 1
        if not self._some.is_set():
            self._some.set()
        return gone

    def take(self) -> list[Event]:
        """Wait for events and take the oldest; none when it has ended and all are taken."""
        while True:
            self._some.wait()
            if len(self._events) < BATCH:
                # Words of a guest come in groups, and a group costs little more than one.
                self.ended.wait(_LINGER_SECONDS)
            with self._changing:
                events = [self._events.popleft() for _ in range(min(BATCH, len(self._events)))]
                self._bytes -= sum(map(_size, events))
                if not (self._events or self.ended.is_set()):
                    self._some.clear()
            if events or self.ended.is_set():
                return events

    def wait(self, seconds: float) -> None:
        """Wait for an event, or so long."""
        self._some.wait(seconds)

    def end(self) -> None:
        """Say that no more events will come."""
        with self._changing:
            self.ended.set()
            self._some.set()

    def clear(self) -> int:
        """Forget everything; returns how many events that were."""
        with self._changing:
            gone = len(self._events)
            self._events.clear()
            self._bytes = 0
        return gone


def _size(event: Event) -> int:
    return _EVENT_BYTES + len(event.message)
