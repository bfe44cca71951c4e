"""How often an install may change its schedules: ten times in a minute from the first on."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST = 10
SECONDS = 60.0


class Rate:
    """Counts changes by install. Forgets a minute once it is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: dict[str, tuple[float, int]] = {}

    def allows(self, install: str) -> bool:
        """Count one change, unless there were ten in this minute already."""
        now = self._clock()
        self._minutes = {
            each: minute for each, minute in self._minutes.items() if now - minute[0] <= SECONDS
        }
        began, count = self._minutes.get(install, (now, 0))
        if count >= MOST:
            return False
        self._minutes[install] = began, count + 1
        return True
