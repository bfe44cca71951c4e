"""Points in time as text, for people and programs alike."""

from __future__ import annotations

import time


def rfc3339(ms: int | None = None) -> str:
    """`ms`, in milliseconds since 1970, in UTC; without it, now.

    As RFC 3339 has it: `2026-12-01T03:06:48.123Z`. Texts sort as their times do.
    """
    seconds, ms = divmod(time.time_ns() // 1_000_000 if ms is None else ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03}Z"
