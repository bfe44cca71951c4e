"""The connections to the database, shared by all rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.gateway.hearing import has_spoken

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

    Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]
    """Connections whose rows are mappings; autocommit, so say `connection.transaction()`."""

CONNECTIONS = 16
DATABASE_SECONDS = 3.0
"""How long a call waits for a connection before it counts as a database that is down."""


def make(url: str) -> Pool:
    """A pool that is not open yet. Its rows are mappings, and it commits by itself."""
    import psycopg
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    async def check(connection: AsyncConnection[dict[str, Any]]) -> None:
        # Mostly it says good-bye, as on a restart.
        if not has_spoken(connection.fileno()):
            return
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            # A server rarely ends one alone, and the pool would find them out one by one with
            # growing pauses between: a few dead connections would outlast any call.
            await pool.drain()
            raise

    pool = AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[dict[str, Any]],
        min_size=1,
        max_size=CONNECTIONS,
        timeout=DATABASE_SECONDS,
        check=check,
        open=False,
        name="gateway",
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": int(DATABASE_SECONDS),
            "application_name": "algaenv-gateway",
        },
    )
    return pool


async def run(
    pool: Pool, statement: LiteralString, values: Mapping[str, object]
) -> list[dict[str, Any]]:
    """The rows of one statement that may well be run again: it is, once and over a new connection,
    when the server ends the first one meanwhile. Raises psycopg.Error."""
    import psycopg

    async with pool.connection() as connection:
        try:
            return await _rows(connection, statement, values)
        except psycopg.OperationalError as error:
            # The good-bye may be read before the end of the connection is.
            good_bye = isinstance(
                error, psycopg.errors.AdminShutdown | psycopg.errors.CrashShutdown
            )
            if not (good_bye or connection.closed):
                raise
    await pool.drain()
    async with pool.connection() as connection:
        return await _rows(connection, statement, values)


async def _rows(
    connection: AsyncConnection[dict[str, Any]],
    statement: LiteralString,
    values: Mapping[str, object],
) -> list[dict[str, Any]]:
    cursor = await connection.execute(statement, values)
    return await cursor.fetchall() if cursor.description else []
