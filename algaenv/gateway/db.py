"""The connections to the database, and how long a caller waits for one.

A statement that is cancelled waits for the server to confirm it, which a server that is frozen, or
behind a cut line, never does. So nothing here is cancelled: what takes too long loses its
connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.gateway.javascript import parse_json

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

    Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]
    """Connections whose rows are mappings; autocommit, so say `connection.transaction()`."""


MAX_CONNECTIONS = 16
CONNECT_SECONDS = 3.0
"""How long a call waits for a connection before it counts as a database that is down."""
STATEMENT_SECONDS = 10.0
"""For what one caller does with a connection: a statement, or a short transaction."""


def create_pool(url: str) -> Pool:
    """A pool that is not open yet. Its rows are mappings, and it commits by itself."""
    import psycopg
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    async def check(connection: AsyncConnection[dict[str, Any]]) -> None:
        # Usually the message of a server that closes it, as on a restart.
        if not is_readable(connection.fileno()):
            return
        try:
            with time_limit(connection, CONNECT_SECONDS):
                await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            # A server rarely ends one alone, and the pool would find them out one by one with
            # growing pauses between: a few dead connections would outlast any call.
            await pool.drain()
            raise

    async def configure(connection: AsyncConnection[dict[str, Any]]) -> None:
        read_json(connection)

    pool = AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[dict[str, Any]],
        min_size=1,
        max_size=MAX_CONNECTIONS,
        timeout=CONNECT_SECONDS,
        check=check,
        configure=configure,
        open=False,
        name="gateway",
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": int(CONNECT_SECONDS),
            # A line that was cut in silence is found out while nothing is sent over it.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "algaenv-gateway",
        },
    )
    return pool


def read_json(connection: AsyncConnection[Any]) -> None:
    """Have JSON in rows read as the product's driver does: every number is a double."""
    from psycopg.types.json import set_json_loads

    set_json_loads(parse_json, connection)


@asynccontextmanager
async def acquire(
    pool: Pool, seconds: float = STATEMENT_SECONDS
) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
    """A connection for so long. Raises psycopg.OperationalError when there is none, and whatever
    is under way raises it when the time is over."""
    async with pool.connection() as connection:
        with time_limit(connection, seconds):
            yield connection


@contextmanager
def time_limit(
    connection: AsyncConnection[Any], seconds: float = STATEMENT_SECONDS
) -> Iterator[list[bool]]:
    """Cut the connection if it is still in use after `seconds`; yields a list that is not empty
    from then on."""
    import psycopg

    expired: list[bool] = []

    def cut() -> None:
        expired.append(True)
        # The library goes on to own its descriptor; the line behind it is cut.
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(connection.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(seconds, cut)
    try:
        yield expired
    finally:
        timer.cancel()


async def query(
    pool: Pool, statement: LiteralString, values: Mapping[str, object]
) -> list[dict[str, Any]]:
    """The rows of one statement that may well be run again: it is, once and over a new connection,
    when the server ends the first one meanwhile. Raises psycopg.Error."""
    import psycopg

    async with pool.connection() as connection:
        try:
            with time_limit(connection) as expired:
                return await _rows(connection, statement, values)
        except psycopg.OperationalError as error:
            if expired:
                raise
            # The good-bye may be read before the end of the connection is.
            shutdown = isinstance(
                error, psycopg.errors.AdminShutdown | psycopg.errors.CrashShutdown
            )
            if not (shutdown or connection.closed):
                raise
    await pool.drain()
    async with acquire(pool) as connection:
        return await _rows(connection, statement, values)


async def _rows(
    connection: AsyncConnection[dict[str, Any]],
    statement: LiteralString,
    values: Mapping[str, object],
) -> list[dict[str, Any]]:
    cursor = await connection.execute(statement, values)
    # `cursor.description` makes an object for each column; a look-up has thirty.
    result = cursor.pgresult
    return await cursor.fetchall() if result is not None and result.nfields else []


def is_readable(descriptor: int) -> bool:
    """Whether there is something to read, or the connection has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def log_failure(log: logging.Logger, event: str, error: Exception, **fields: object) -> None:
    """Log work that failed: one line for a database that is down, else with a traceback."""
    import psycopg

    if isinstance(error, psycopg.OperationalError):
        # Its text may name the server and the user, and is nothing to mend in the gateway.
        why = {"problem": "gateway-database-down", "why": type(error).__name__}
        log.warning(event, extra={"fields": {**fields, **why}})
    else:
        log.error(event, exc_info=error, extra={"fields": fields})
