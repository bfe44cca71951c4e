"""Where events go: what every sink answers to, and the one that hands on to several."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from algaenv.model.event import Event


class Sink(Protocol):
    """Somebody who watches a run. A session emits one event at a time, from any thread."""

    def emit(self, event: Event) -> None:
        """Something happened."""
        ...

    def stopping(self) -> None:
        """The run was asked to stop. May be called in a signal handler: takes no lock."""
        ...

    def close(self) -> None:
        """Nothing more will happen; the screen is left tidy. May be called twice."""
        ...


class MultiSink:
    """Hands every event to every sink.

    A sink that cannot write (its reader is gone, the disk is full) hears no more; the run is
    not disturbed by who watches it.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def emit(self, event: Event) -> None:
        """Hand it on."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)
            except OSError:
                self._sinks.remove(sink)
                with contextlib.suppress(OSError):
                    sink.close()

    def stopping(self) -> None:
        """Hand it on."""
        for sink in tuple(self._sinks):
            with contextlib.suppress(OSError):
                sink.stopping()

    def close(self) -> None:
        """Close them all."""
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
