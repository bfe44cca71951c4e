"""The reading of a look with psycopg2, whose import takes a twentieth of the time of psycopg's.

A run that finds nothing to do reads once and writes never, and the import of psycopg alone would be
a third of it. Everything that writes, and every error that a person is told about, goes through
psycopg: whatever goes wrong here is tried again there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass
from algaenv.drivers import catalog_read

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection


@dataclass(frozen=True, slots=True)
class Quick:
    """Gives a connection of psycopg2 the one method that `catalog_read` needs."""

    connection: Connection

    def execute(self, statement: str, values: Any = None) -> catalog_read.Fetches:
        """Run it on a cursor of its own."""
        cursor = self.connection.cursor()
        cursor.execute(statement, values)
        return cursor


def read(dsn: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any] | None:
    """As `catalog_read.read`; None when it could not be done, for whatever reason."""
    import psycopg2

    given = {"dsn" if name == "conninfo" else name: value for name, value in dsn.items()}
    try:
        connection = psycopg2.connect(**given)
        try:
            connection.autocommit = True
            return catalog_read.read_over(Quick(connection), question)
        finally:
            connection.close()
    except psycopg2.Error:
        return None
