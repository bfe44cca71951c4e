"""Ctrl-C in two strokes: the first lets the steps under way end, the second abandons them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from algaenv.cli.exit_codes import ExitCode

GRACE = 0.5
"""Seconds that a run which is being abandoned has to tidy up."""


class InterruptHandler:
    """What was asked for by signals so far.

    `announce` is called in the signal handler at the first stroke, so it must take no lock.
    `abandon` is called in a thread when the second one has not ended the run within GRACE.
    """

    def __init__(self, announce: Callable[[], None], abandon: Callable[[], None]) -> None:
        self._announce = announce
        self._abandon = abandon
        self._strokes = 0
        self.over = threading.Event()

    def cancelled(self) -> bool:
        """True once somebody asked to stop."""
        return self._strokes > 0

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Count a stroke; asking by SIGTERM again changes nothing."""
        if number == signal.SIGTERM and self._strokes:
            return
        self._strokes += 1
        match self._strokes:
            case 1:
                self._announce()
            case 2:
                threading.Thread(target=self._leave_soon, name="leaving", daemon=True).start()
                raise KeyboardInterrupt
            case _:
                os._exit(ExitCode.INTERRUPTED)

    def _leave_soon(self) -> None:
        """Threads that are stuck in a step must not hold up somebody who asked twice."""
        if not self.over.wait(GRACE):
            self._abandon()
            os._exit(ExitCode.INTERRUPTED)


@contextmanager
def handle_interrupts(
    announce: Callable[[], None], abandon: Callable[[], None]
) -> Iterator[InterruptHandler]:
    """Both signals counted inside the block, handled as before after it."""
    state = InterruptHandler(announce, abandon)
    try:
        with _handling(state.handle, signal.SIGINT, signal.SIGTERM):
            yield state
    finally:
        state.over.set()


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that whatever it started is cleaned up."""
    with _handling(_at_once, signal.SIGTERM):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    """Outside of the main thread signals are somebody else's business."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _at_once(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
