"""Reads a snapshot with psycopg2, whose import takes a twentieth of the time of psycopg's.

A no-op run reads once and never writes, and importing psycopg alone would be a third of it. Writes
and reported errors go through psycopg: a read that fails here is repeated there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass
from algaenv.drivers.database import queries
from algaenv.system.deadline import shutdown_after

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection


@dataclass(frozen=True, slots=True)
class Psycopg2Adapter:
    """Gives a connection of psycopg2 the one method that `queries` needs."""

    connection: Connection
    seconds: float
    """For each statement."""

    def execute(self, statement: str, values: Any = None) -> queries.SupportsFetch:
        """Run it on a cursor of its own. Raises TimeoutError, and what psycopg2 raises."""
        import psycopg2

        cursor = self.connection.cursor()
        with shutdown_after(self.connection.fileno(), self.seconds) as expired:
            try:
                cursor.execute(statement, values)
            except psycopg2.Error as error:
                if not expired.is_set():
                    raise
                raise TimeoutError(f"no answer within {self.seconds:g} s") from error
        return cursor


def read_snapshot(
    dsn: Mapping[str, Any], query: Mapping[str, Any], seconds: float
) -> dict[str, Any] | None:
    """As `queries.read_snapshot`; None when it failed, for any reason but a timeout.

    Raises TimeoutError when a server that let us in does not answer: asking it again with the other
    library would only wait once more.
    """
    import psycopg2

    given = {"dsn" if name == "conninfo" else name: value for name, value in dsn.items()}
    try:
        connection = psycopg2.connect(**given)
        try:
            connection.autocommit = True
            return queries.read_snapshot_over(Psycopg2Adapter(connection, seconds), query)
        finally:
            connection.close()
    except psycopg2.Error:
        return None
