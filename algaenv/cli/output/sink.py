"""The interface of event sinks, and the sink that forwards to several."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from algaenv.model.event import Event


class Sink(Protocol):
    """Receives the events of a run, one at a time, from any thread."""

    def emit(self, event: Event) -> None:
        """Handle one event."""
        ...

    def stopping(self) -> None:
        """The run was asked to stop. May be called in a signal handler: takes no lock."""
        ...

    def close(self) -> None:
        """Finish the output; no event follows. May be called twice."""
        ...


class MultiSink:
    """Forwards every event to every sink.

    A sink that cannot write (its reader is gone, the disk is full) is dropped; the run goes on.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def emit(self, event: Event) -> None:
        """Forward to every sink."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)
            except OSError:
                self._sinks.remove(sink)
                with contextlib.suppress(OSError):
                    sink.close()

    def stopping(self) -> None:
        """Forward to every sink."""
        for sink in tuple(self._sinks):
            with contextlib.suppress(OSError):
                sink.stopping()

    def close(self) -> None:
        """Close every sink."""
        for sink in tuple(self._sinks):
            with contextlib.suppress(OSError):
                sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
