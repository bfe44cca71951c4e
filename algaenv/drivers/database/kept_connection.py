"""A connection that stays open from one transaction to the next.

A new one costs a process of the server, an exchange of passwords, and caches that begin empty: more
than the statements of a release. `algaenv dev` keeps one; a short command would close it at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from algaenv.drivers.database.connection import BoundedConnection

IDLE_SECONDS: Final = 60.0
"""After so long without use it is closed: it holds memory of the server, and one of its places."""


class KeptConnection:
    """Keeps at most one idle connection, which one thread at a time may take."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: tuple[Mapping[str, Any], BoundedConnection] | None = None
        self._timer: threading.Timer | None = None

    def take(self, dsn: Mapping[str, Any]) -> BoundedConnection | None:
        """The idle connection, if there is one with these arguments. It may have been lost."""
        with self._lock:
            idle, self._idle = self._idle, None
            self._stop_timer()
        if idle is None:
            return None
        if idle[0] == dsn:
            return idle[1]
        _close(idle[1])
        return None

    def give(self, dsn: Mapping[str, Any], connection: BoundedConnection) -> None:
        """Keep a connection that has no transaction, or close it."""
        with self._lock:
            if self._idle is None and not connection.closed:
                self._idle = dsn, connection
                self._timer = threading.Timer(self._idle_seconds, self.close)
                self._timer.daemon = True
                self._timer.start()
                return
        _close(connection)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, None
            self._stop_timer()
        if idle is not None:
            _close(idle[1])

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _close(connection: BoundedConnection) -> None:
    import psycopg

    with contextlib.suppress(psycopg.Error):
        connection.close()
