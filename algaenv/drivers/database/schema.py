"""The tables of a managed database, made from `schema.sql` and mended where columns are missing."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from algaenv.drivers.database.queries import REQUIRED_COLUMNS, read_columns
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.retry import retry_unavailable
from algaenv.model.drift import Drift
from algaenv.model.kind import Address
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress

if TYPE_CHECKING:
    from algaenv.drivers.database.session import Connection

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\);", re.DOTALL)
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX .*?;")


def script() -> str:
    """The text of `schema.sql`."""
    return Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


def tables() -> Mapping[str, Mapping[str, str]]:
    """Table → column → its definition, read off `schema.sql`."""
    return {name: _columns(body) for name, body in _TABLE.findall(script())}


def schema_problem(live: Mapping[str, Collection[str]]) -> Problem | None:
    """Which tables and columns the database lacks, all at once; `live` maps tables to columns."""
    lost = [table for table in REQUIRED_COLUMNS if table not in live]
    lost += [
        f"{table}.{column}"
        for table, needed in REQUIRED_COLUMNS.items()
        for column in needed
        if table in live and column not in live[table]
    ]
    if not lost:
        return None
    return Problem(
        "schema-missing",
        f"cannot install extensions into the database: it lacks {', '.join(lost)}",
        "run Alga's EE migrations: `npm run migrate:ee` in its server/ directory",
    )


def missing_parts(live: Mapping[str, Collection[str]]) -> tuple[Drift, ...]:
    """What `live` (table → columns) lacks, in words; empty when everything is there."""
    found: list[Drift] = []
    for table, wanted in tables().items():
        if table not in live:
            found.append(Drift(f"the table {table} is missing", f"tables.{table}", table, ""))
            continue
        lost = [column for column in wanted if column not in live[table]]
        found += [
            Drift(f"the column {name} is missing", f"tables.{name}", name, "")
            for name in (f"{table}.{column}" for column in lost)
        ]
    return tuple(found)


class SchemaDriver:
    """Makes the tables; leaves every row alone."""

    def __init__(self, database: DatabaseSession) -> None:
        self._database = database

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Make what is missing. Raises Failed when a column cannot be added to filled rows."""
        retry_unavailable(self._make, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """The same: everything in the script is made only if it is not there."""
        retry_unavailable(self._make, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Drop the tables; what others have built on them stops it."""

        def drop() -> None:
            with self._database.transaction() as connection:
                connection.execute(f"DROP TABLE IF EXISTS {', '.join(tables())}")

        retry_unavailable(drop, on_progress)

    def _make(self) -> None:
        text = script()
        with self._database.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('algaenv/schema'))")
            for match in _TABLE.finditer(text):
                connection.execute(match[0])
            _add_columns(connection)
            for statement in _INDEX.findall(text):
                connection.execute(statement)


def _add_columns(connection: Connection) -> None:
    wanted = tables()
    live = read_columns(connection, list(wanted))
    for table, definitions in wanted.items():
        for column, definition in definitions.items():
            if column not in live[table]:
                _add_column(connection, table, column, definition)


def _add_column(connection: Connection, table: str, column: str, definition: str) -> None:
    from psycopg.errors import NotNullViolation

    try:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {definition}")
    except NotNullViolation as error:
        raise Failed(
            Problem(
                "schema-column",
                f"cannot add the column {table}.{column}: the table has rows and the column"
                " must not be empty",
                f"add it by hand with values, or empty {table}",
            )
        ) from error


def _columns(body: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in body.splitlines():
        word, _, definition = line.strip().rstrip(",").partition(" ")
        if word != "CONSTRAINT":
            found[word] = definition
    return found
