"""The connections to the database, shared by all rooms."""

from __future__ import annotations

import select
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from algaenv.gateway.house import Pool

CONNECTIONS = 16
DATABASE_SECONDS = 3.0
"""How long a call waits for a connection before it counts as a database that is down."""


def make(url: str) -> Pool:
    """A pool that is not open yet. Its rows are mappings, and it commits by itself."""
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    return AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[dict[str, Any]],
        min_size=1,
        max_size=CONNECTIONS,
        timeout=DATABASE_SECONDS,
        check=_look,
        open=False,
        name="gateway",
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": int(DATABASE_SECONDS),
            "application_name": "algaenv-gateway",
        },
    )


async def run(
    pool: Pool, statement: LiteralString, values: Mapping[str, object]
) -> list[dict[str, Any]]:
    """The rows of one statement that may well be run again: it is, over another connection, when
    the server ends one meanwhile, as it may all that the pool has. Raises psycopg.Error."""
    import psycopg

    for _ in range(CONNECTIONS):
        async with pool.connection() as connection:
            try:
                return await _rows(connection, statement, values)
            except psycopg.OperationalError as error:
                # The good-bye may be read before the end of the connection is.
                ended = isinstance(
                    error, psycopg.errors.AdminShutdown | psycopg.errors.CrashShutdown
                )
                if not (ended or connection.closed):
                    raise
    async with pool.connection() as connection:
        return await _rows(connection, statement, values)


async def _rows(
    connection: AsyncConnection[dict[str, Any]],
    statement: LiteralString,
    values: Mapping[str, object],
) -> list[dict[str, Any]]:
    cursor = await connection.execute(statement, values)
    return await cursor.fetchall() if cursor.description else []


async def _look(connection: AsyncConnection[dict[str, Any]]) -> None:
    """Raises when the server ended the connection while it was idle, as a restart does.

    Without a question to the server: one that has something to say unasked is saying good-bye,
    and only then is it asked.
    """
    from psycopg_pool import AsyncConnectionPool

    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)
