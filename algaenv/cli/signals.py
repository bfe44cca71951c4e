"""Signal handling: a first Ctrl-C lets running steps end, a second abandons them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from algaenv.cli.exit_codes import ExitCode

GRACE = 0.5
"""Seconds that an abandoned run has for its cleanup."""


class InterruptHandler:
    """Counts the interrupts of a run.

    `announce` is called in the signal handler at the first interrupt, so it must take no lock.
    `abandon` is called in a thread when the second has not ended the run within GRACE, and
    `restore` before that, or at a third: it gives the terminal back, and may be called twice.
    """

    def __init__(
        self,
        announce: Callable[[], None],
        abandon: Callable[[], None],
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        self._announce = announce
        self._abandon = abandon
        self._restore = restore
        self._count = 0
        self.over = threading.Event()

    def cancelled(self) -> bool:
        """True after the first interrupt."""
        return self._count > 0

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; a repeated SIGTERM changes nothing."""
        if number == signal.SIGTERM and self._count:
            return
        self._count += 1
        match self._count:
            case 1:
                self._announce()
            case 2:
                threading.Thread(target=self._exit_after_grace, name="abandon", daemon=True).start()
                raise KeyboardInterrupt
            case _:
                self._restore()
                os._exit(ExitCode.INTERRUPTED)

    def _exit_after_grace(self) -> None:
        """Exit even when threads are stuck in a step."""
        if not self.over.wait(GRACE):
            self._restore()
            self._abandon()
            os._exit(ExitCode.INTERRUPTED)


@contextmanager
def handle_interrupts(
    announce: Callable[[], None],
    abandon: Callable[[], None],
    restore: Callable[[], None] = lambda: None,
) -> Iterator[InterruptHandler]:
    """Handle SIGINT and SIGTERM inside the block; restores the handlers after it."""
    state = InterruptHandler(announce, abandon, restore)
    try:
        with _handling(state.handle, signal.SIGINT, signal.SIGTERM):
            yield state
    finally:
        state.over.set()


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, so that the block cleans up."""
    with _handling(_interrupt, signal.SIGTERM):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    """Install `handler` inside the block; does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
