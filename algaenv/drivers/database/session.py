"""The database that holds the rows: managed or external, read in bulk, written in transactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass
from algaenv.drivers.database import fast_reader, queries
from algaenv.drivers.database.errors import DatabaseLocation, translate_error, unreachable_error
from algaenv.model.intent import ManagedDatabase
from algaenv.model.lock import Lock

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
STATEMENT_SECONDS = 30.0
"""For each statement, from this side: a frozen server keeps no limit of its own."""


@dataclass(frozen=True, slots=True)
class DatabaseSession:
    """`dsn` are arguments of `psycopg.connect` and hold the password."""

    dsn: Mapping[str, Any] = field(repr=False)
    location: DatabaseLocation

    @classmethod
    def of(cls, lock: Lock, variables: Sequence[str] = ()) -> DatabaseSession:
        """The database of this lock; `variables` of the shell say more about an external one."""
        shared = {"connect_timeout": CONNECT_SECONDS, "application_name": "algaenv"}
        match lock.intent.database:
            case ManagedDatabase(user=user, database=database):
                here = {
                    "host": lock.host,
                    "port": lock.ports.database,
                    "user": user,
                    "password": lock.credentials.database_password.reveal(),
                    "dbname": database,
                    # Another server on that port must not receive the password.
                    "require_auth": "scram-sha-256",
                }
                label = f"the database {database} at {lock.host}:{lock.ports.database}"
                return cls({**shared, **here}, DatabaseLocation(label, managed=True))
            case external:
                url = external.url.reveal()
                return cls(
                    {"conninfo": url, **shared},
                    DatabaseLocation(_label(url), managed=False, variables=tuple(variables)),
                )

    @property
    def managed(self) -> bool:
        """Whether the database is ours."""
        return self.location.managed

    def read(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """See `queries.read_snapshot`. Raises Unavailable, Refused or Failed."""
        try:
            answer = fast_reader.read_snapshot(self.dsn, query, STATEMENT_SECONDS)
        except TimeoutError as error:
            raise unreachable_error(str(error), self.location) from error
        if answer is not None:
            return answer
        import psycopg

        try:
            return queries.read_snapshot(self.dsn, query, STATEMENT_SECONDS)
        except psycopg.Error as error:
            raise translate_error(error, self.location) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One connection with one transaction, committed unless the block raises.

        Waits LOCK_SECONDS for rows that others hold, and STATEMENT_SECONDS for the answer to a
        statement. Raises errors of ours for the driver's.
        """
        import psycopg

        from algaenv.drivers.database.connection import connect

        try:
            with connect(STATEMENT_SECONDS, **self.dsn, prepare_threshold=None) as connection:
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                yield connection
        except psycopg.Error as error:
            raise translate_error(error, self.location) from error


def lock_rows(connection: Connection, registry: str) -> None:
    """Lock the rows of an extension until the transaction ends.

    Tenants and environments share the rows of a registry id. A deletion first reads which tenants
    a build serves, and that must not change before the deletion.
    """
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"algaenv/{registry}",)
    )


def _label(url: str) -> str:
    """An external database by its place, without user, password and settings."""
    try:
        parts = urlsplit(url)
        location = f" at {parts.hostname}:{parts.port or 5432}" if parts.hostname else ""
    except ValueError:
        location = ""
    return f"the external database{location}"
