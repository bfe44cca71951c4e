"""TCP ports that are free now, and below those that the kernel hands out by itself."""

from __future__ import annotations

import random
import socket

# The kernel's own start at 32768: a fixed port above it may be taken by any outgoing connection.
_LOWEST, _HIGHEST = 20000, 32000


class Ports:
    """Hands out each port once."""

    def __init__(self) -> None:
        self._next = random.randrange(_LOWEST, _HIGHEST)

    def take(self, count: int) -> list[int]:
        """`count` ports of 127.0.0.1 that nobody listens on."""
        found: list[int] = []
        while len(found) < count:
            self._next = self._next + 1 if self._next < _HIGHEST else _LOWEST
            if _is_free(self._next):
                found.append(self._next)
        return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
