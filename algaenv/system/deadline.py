"""A deadline on this side of a connection whose peer may have stopped without closing it.

The kernel of a frozen peer still acknowledges what is sent, and a limit that the server keeps is
frozen with it: only this side can end the wait. It shuts the connection down, which the library
that reads from it takes for a connection that was lost.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def shutdown_after(descriptor: int, seconds: float) -> Iterator[threading.Event]:
    """Shut the socket `descriptor` down unless the block ends within `seconds`.

    Yields an event that is set once that has happened. The descriptor stays the caller's.
    """
    expired = threading.Event()
    # A duplicate: the number may belong to another connection by then.
    line = socket.socket(fileno=os.dup(descriptor))

    def cut() -> None:
        expired.set()
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
        timer.join()
        line.close()
