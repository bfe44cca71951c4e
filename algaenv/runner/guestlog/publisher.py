"""Carries events to the debug stream, from a thread of its own.

A thread, and not the event loop: reading the system's certificates, looking up a name and writing
a few hundred entries all take longer than a request may wait, and a look-up that hangs would keep
the loop from closing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from algaenv.runner.guestlog.backlog import Backlog
from algaenv.runner.guestlog.event import Event
from algaenv.runner.guestlog.settings import StreamSettings
from algaenv.runner.guestlog.sink import NoRedis, Sink

if TYPE_CHECKING:
    from tenacity import RetryCallState

FLUSH_SECONDS = 1.0
LONGEST_PAUSE = 1.0
"""Between two attempts while Redis does not answer."""

_SETTLING_SECONDS = 1.0
_LONGEST_REASON = 200
_log = logging.getLogger(__name__)


class Publisher:
    """Writes events when it can; `dropped` is told how many it had to give up.

    Events whose receipt Redis could not confirm are written again: some may be there twice after
    an outage. They keep their `ts`.
    """

    def __init__(self, settings: StreamSettings, dropped: Callable[[int], None]) -> None:
        self._settings = settings
        self._dropped = dropped
        self._backlog = Backlog()
        self._on = settings.url is not None
        self._missed = 0
        self._missing = threading.Lock()
        self._out = False
        self._refusing = False
        self._thread: threading.Thread | None = None

    @property
    def on(self) -> bool:
        """Whether there is a stream to write to."""
        return self._on

    def begin(self) -> None:
        """Start the thread, in the process that will serve. Connects in the background."""
        if self._on and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="debug stream", daemon=True)
            self._thread.start()

    def put(self, event: Event) -> None:
        """Have an event written. For any thread; never waits."""
        if self._on and (gone := self._backlog.put(event)):
            self._drop(gone)

    def end(self) -> None:
        """Write what waits, for a second at most. Blocks."""
        self._backlog.end()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)
        self._on = False
        if left := self._backlog.clear():
            self._drop(left)

    def _run(self) -> None:
        # The service is just starting: it needs the processor more than its first event does.
        self._backlog.wait(_SETTLING_SECONDS)
        try:
            sink = Sink(self._settings)
        except NoRedis:
            self._on = False
            _log.error("RUNNER_DEBUG_REDIS_URL names no Redis; there is no debug stream")
            self._drop(self._backlog.clear())
            return
        self._carry(sink)

    def _carry(self, sink: Sink) -> None:
        from tenacity import (
            RetryError,
            Retrying,
            sleep_using_event,
            stop_when_event_set,
            wait_random_exponential,
        )

        persist = Retrying(
            wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE),
            sleep=sleep_using_event(self._backlog.ended),
            stop=stop_when_event_set(self._backlog.ended),
            before_sleep=self._failed,
        )
        batch: list[Event] = []
        try:
            persist(sink.greet)
            self._worked(refused=0)
            while batch := self._backlog.take():
                refused = persist(sink.write, batch)
                self._worked(refused)
        except RetryError:
            self._drop(len(batch))
        sink.close()

    def _failed(self, attempt: RetryCallState) -> None:
        if self._out:
            return
        self._out = True
        error = attempt.outcome.exception() if attempt.outcome else None
        why = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        _log.warning("debug stream lost", extra={"fields": {"why": why}})

    def _worked(self, refused: int) -> None:
        if refused:
            self._drop(refused)
            if not self._refusing:
                _log.warning("debug stream refused events", extra={"fields": {"events": refused}})
        self._refusing = bool(refused)
        if self._out:
            self._out = False
            with self._missing:
                missed, self._missed = self._missed, 0
            _log.info("debug stream back", extra={"fields": {"dropped": missed}})

    def _drop(self, number: int) -> None:
        if self._out:
            with self._missing:
                self._missed += number
        self._dropped(number)
