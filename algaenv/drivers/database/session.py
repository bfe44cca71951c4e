"""The database that holds the rows: managed or external, read in bulk, written in transactions.

What the PostgreSQL driver raises becomes an error of ours (`errors.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass, field
from algaenv.drivers.database import fast_reader, queries
from algaenv.drivers.database.errors import DatabaseLocation, translate_error, unreachable_error
from algaenv.model.intent import ManagedDatabase
from algaenv.model.lock import Lock

if TYPE_CHECKING:
    import psycopg

    from algaenv.drivers.database.connection import BoundedConnection
    from algaenv.drivers.database.kept_connection import KeptConnection

    Connection = psycopg.Connection[Any]


CONNECT_SECONDS = 5
LOCK_SECONDS = 5
STATEMENT_SECONDS = 30.0
"""For each statement, from this side: a frozen server keeps no limit of its own."""


@dataclass(frozen=True, slots=True)
class DatabaseSession:
    """`dsn` are arguments of `psycopg.connect` and hold the password. `kept` is where a connection
    stays between transactions; None: each has its own."""

    dsn: Mapping[str, Any] = field(repr=False)
    location: DatabaseLocation
    kept: KeptConnection | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, lock: Lock, variables: Sequence[str] = (), kept: KeptConnection | None = None
    ) -> DatabaseSession:
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
                return cls({**shared, **here}, DatabaseLocation(label, managed=True), kept)
            case external:
                url = external.url.reveal()
                return cls(
                    {"conninfo": url, **shared},
                    DatabaseLocation(_label(url), managed=False, variables=tuple(variables)),
                    kept,
                )

    @property
    def managed(self) -> bool:
        """Whether the database is ours."""
        return self.location.managed

    def read(self, query: Mapping[str, Any], *, fast: bool = True) -> dict[str, Any]:
        """See `queries.read_snapshot`. Raises Unavailable, Refused or Failed.

        `fast`: through psycopg2, which is quicker to import; through psycopg when it fails.
        """
        answer = self._read_over_kept(query)
        if answer is not None:
            return answer
        if fast:
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

    def _read_over_kept(self, query: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same over the connection that was kept; None without one, or when it fails: what is
        reported is what a new one meets."""
        connection = self._begin_over_kept()
        if connection is None:
            return None
        import psycopg

        try:
            answer = queries.read_snapshot_over(connection, query)
            connection.rollback()
        except psycopg.Error:
            connection.close()
            return None
        self._keep(connection)
        return answer

    @contextmanager
    def transaction(self, seconds: float | None = None) -> Iterator[Connection]:
        """A transaction, committed unless the block raises.

        Waits LOCK_SECONDS for rows that others hold, and `seconds` for the answer to a statement,
        by default STATEMENT_SECONDS. Raises errors of ours for the driver's.
        """
        import psycopg

        try:
            connection = self._begin_over_kept() or self._begin()
            connection.statement_seconds = STATEMENT_SECONDS if seconds is None else seconds
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.close()  # The server rolls it back.
                raise
            self._keep(connection)
        except psycopg.Error as error:
            raise translate_error(error, self.location) from error

    def _begin(self) -> BoundedConnection:
        """A transaction over a new connection. Raises psycopg.Error."""
        from algaenv.drivers.database.connection import connect

        # A statement that another connection prepared is unknown to a pool before an external one.
        prepared = 2 if self.kept is not None and self.managed else None
        connection = connect(STATEMENT_SECONDS, **self.dsn, prepare_threshold=prepared)
        try:
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_over_kept(self) -> BoundedConnection | None:
        """A transaction over the connection that was kept; None without one that answers."""
        connection = self.kept.take(self.dsn) if self.kept is not None else None
        if connection is None:
            return None
        import psycopg

        # Nothing has been asked of the server yet, so a lost connection is replaced by a new one.
        connection.statement_seconds = CONNECT_SECONDS
        try:
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        except psycopg.Error:
            connection.close()
            return None
        connection.statement_seconds = STATEMENT_SECONDS
        return connection

    def _keep(self, connection: BoundedConnection) -> None:
        if self.kept is None:
            connection.close()
        else:
            self.kept.give(self.dsn, connection)


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
