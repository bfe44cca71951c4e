"""The clock of the guests: it ticks while calls are under way, and rests when none is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TICK_SECONDS = 0.01
_IDLE_TICKS = 50
"""So that a call after a call need not wake the thread first."""


class Ticker:
    """A thread that calls a few quick functions at each tick."""

    def __init__(self) -> None:
        self._hands: tuple[Callable[[], None], ...] = ()
        self._active = 0
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._resting = True
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, hand: Callable[[], None]) -> None:
        """Call `hand` at each tick from now on. It must not raise, and take no time."""
        self._hands = (*self._hands, hand)

    def __enter__(self) -> Ticker:
        """Begin a call: it ticks now."""
        with self._lock:
            self._active += 1
            if self._resting:
                self._resting = False
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
                    self._thread.start()
                self._wanted.set()
        return self

    def __exit__(self, *_: object) -> None:
        """End a call."""
        with self._lock:
            self._active -= 1

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        idle = 0
        while not self._closed:
            time.sleep(TICK_SECONDS)
            for hand in self._hands:
                hand()
            idle = 0 if self._active else idle + 1
            if idle > _IDLE_TICKS and self._rest():
                self._wanted.wait()
                idle = 0

    def _rest(self) -> bool:
        with self._lock:
            if self._active or self._closed:
                return False
            self._resting = True
            self._wanted.clear()
            return True
