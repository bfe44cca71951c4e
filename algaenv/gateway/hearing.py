"""Whether the other end of an idle connection has said something, found without a trip to it."""

from __future__ import annotations

import select


def has_spoken(descriptor: int) -> bool:
    """Whether there is something to read, or the connection has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
