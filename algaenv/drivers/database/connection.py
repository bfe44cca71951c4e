"""A psycopg connection with a time limit for each statement.

Imports psycopg, which is slow: import this where it is used.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg

from algaenv.system.deadline import shutdown_after

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """Cuts itself off from a server that does not answer a statement in time.

    Raises psycopg.OperationalError then, as for a connection that was lost.
    """

    statement_seconds: float = 30.0
    """For each statement, BEGIN, COMMIT and ROLLBACK included."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's, within `statement_seconds`."""
        with shutdown_after(self.fileno(), self.statement_seconds) as expired:
            try:
                return super().wait(gen, *args, **kwargs)
            except psycopg.OperationalError as error:
                if not expired.is_set():
                    raise
                late = f"no answer within {self.statement_seconds:g} s"
                raise psycopg.OperationalError(late) from error


def connect(seconds: float, **dsn: Any) -> BoundedConnection:
    """As `psycopg.connect`, with `seconds` for every statement. Raises psycopg.Error.

    How long connecting may take is `connect_timeout` of `dsn`.
    """
    connection = BoundedConnection.connect(**dsn)
    connection.statement_seconds = seconds
    return connection
