"""Applies files of SQL to the database, each in one transaction together with its mark."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from algaenv.bundle.value import replace
from algaenv.drivers.database.errors import is_about_the_server
from algaenv.drivers.database.seed_marks import SeedMark, delete_mark, read_mark, write_mark
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.database.sql_text import Statement, line_and_column, split_statements
from algaenv.drivers.retry import retry_unavailable
from algaenv.model.content import SqlSeedSpec
from algaenv.model.kind import Address
from algaenv.model.problem import Failed, Problem, Where
from algaenv.model.resource import Present, Resource, spec_as
from algaenv.reconcile.protocols import OnProgress

if TYPE_CHECKING:
    from algaenv.drivers.database.session import Connection

STATEMENT_SECONDS: Final = 600.0
"""For each statement of an author's file."""
_REPORTED: Final = 100
"""Statements between two lines of progress."""


class SqlSeedDriver:
    """Files of SQL, each applied in one transaction together with its mark."""

    def __init__(self, database: DatabaseSession) -> None:
        # A file may change settings of its session, so it never has one that others use.
        self._database = replace(database, kept=None)

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Apply the file. Raises Failed (`seed-sql`) with the place of the statement that fails."""
        body = spec_as(resource, SqlSeedSpec)
        text = body.content.decode()
        statements = tuple(split_statements(text))
        refused = [
            Problem("seed-sql-form", f"cannot apply this statement: {why}", hint, place)
            for it in statements
            if (refusal := it.refusal) is not None
            for why, hint in [refusal]
            for place in [_place(body.file, text, it.offset)]
        ]
        if refused:
            raise Failed(*refused)
        mark = SeedMark(resource.address, resource.fingerprint, resource.inputs, {}, finished=True)

        def apply() -> None:
            with self._database.transaction(STATEMENT_SECONDS) as connection:
                read_mark(connection, resource.address)
                # First: the file may change where names are looked up.
                write_mark(connection, mark)
                for number, statement in enumerate(statements):
                    if number and number % _REPORTED == 0:
                        on_progress(f"statement {number} of {len(statements)}")
                    _execute(connection, statement, body.file, text)

        retry_unavailable(apply, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """The same: the file has changed since it was applied."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Forget that it was applied; nothing that it did is undone."""

        def forget() -> None:
            with self._database.transaction() as connection:
                delete_mark(connection, address)

        retry_unavailable(forget, on_progress)
        on_progress("what its statements did stays")


def _execute(connection: Connection, statement: Statement, file: str, text: str) -> None:
    import psycopg

    try:
        connection.execute(statement.text.encode(), prepare=False)
    except psycopg.Error as error:
        if is_about_the_server(error):
            raise
        at = int(error.diag.statement_position or 1) - 1
        place = _place(file, text, statement.offset + at)
        message = error.diag.message_primary or str(error).splitlines()[0]
        raise Failed(
            Problem(
                "seed-sql",
                f"cannot apply this statement: {message}",
                error.diag.message_hint or "correct it: nothing of the file has been applied",
                place,
            )
        ) from None


def _place(file: str, text: str, offset: int) -> Where:
    return Where(file, *line_and_column(text, offset))
