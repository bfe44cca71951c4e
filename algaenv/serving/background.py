"""Background tasks of a service, restarted when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

PAUSE_SECONDS = 5.0
"""Before a task that failed is restarted."""

_log = logging.getLogger(__name__)


async def restart_on_failure(
    task: Callable[[], Awaitable[None]], pause: float = PAUSE_SECONDS
) -> None:
    """Run a task; log a failure and restart the task."""
    while True:
        try:
            await task()
        except Exception:
            _log.exception("a chore failed and begins again", extra={"fields": {"pause": pause}})
            await asyncio.sleep(pause)
        else:
            return
