"""The database of a snapshot, by the server's own pg_dump and pg_restore.

It is restored beside the one in use, which it then replaces in one transaction.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.database.connection import connect
from algaenv.drivers.database.errors import translate_error
from algaenv.drivers.database.session import STATEMENT_SECONDS, DatabaseSession
from algaenv.drivers.snapshots.directory import HashingFile
from algaenv.model.problem import Failed, Problem
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import OnProgress, ServiceProgram

if TYPE_CHECKING:
    from algaenv.drivers.database.connection import BoundedConnection

RunBeside = Callable[[Sequence[str]], ServiceProgram]
"""How a program of the database is run."""
LIMIT_SECONDS: Final = 3600.0
"""For one run of pg_dump or pg_restore."""
SWAP_SECONDS: Final = 30.0
_RESTORED: Final = "algaenv_restoring"
_REPLACED: Final = "algaenv_replaced"
_CHUNK: Final = 1024 * 1024
_REPORTED: Final = 64 * 1024 * 1024
"""Bytes between two lines of progress."""


@dataclass(frozen=True, slots=True)
class SnapshotDatabase:
    """A managed database and the programs of its server. `environ` are the variables of theirs."""

    session: DatabaseSession
    run_beside: RunBeside
    environ: Mapping[str, str]

    @property
    def _name(self) -> str:
        return str(self.session.dsn["dbname"])

    def major(self) -> int:
        """The server's major version."""
        with self._maintenance() as connection:
            row = connection.execute("SHOW server_version_num").fetchone()
        return int(row[0]) // 10_000 if row else 0

    def dump(self, out: HashingFile, on_progress: OnProgress) -> None:
        """Write all of it as it is at one moment. Raises Failed (`snapshot-failed`)."""
        words = ["pg_dump", "--format=custom", "--compress=1", "--no-owner", "--no-privileges"]
        with self._program(words, subprocess.DEVNULL, subprocess.PIPE) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            reported = 0
            while chunk := process.stdout.read(_CHUNK):
                out.write(chunk)
                if out.size - reported >= _REPORTED:
                    reported = out.size
                    on_progress(f"database: {reported >> 20} MiB")

    def prepare(self, dump: Path) -> None:
        """Restore a dump beside the database in use. Raises Failed (`snapshot-failed`)."""
        from psycopg import sql

        self.discard()
        with self._maintenance() as connection:
            # A copy of template0 has nothing that a dump would make a second time.
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(_RESTORED))
            )
        words = [
            *("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner"),
            *("--no-privileges", f"--dbname={_RESTORED}"),
        ]
        with (
            dump.open("rb") as stream,
            self._program(words, stream, subprocess.DEVNULL) as process,
        ):
            process.wait()

    def replace(self) -> None:
        """Put what was prepared in the place of the database in use: both names, or neither.

        Connections to it are ended. Raises Failed (`snapshot-failed`) when others come too fast.
        """
        from psycopg import errors, sql

        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        name, restored, replaced = map(sql.Identifier, (self._name, _RESTORED, _REPLACED))
        deadline = time.monotonic() + SWAP_SECONDS
        with self._maintenance() as connection:
            while True:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (self._name,),
                )
                try:
                    with connection.transaction():
                        connection.execute(rename.format(name, replaced))
                        connection.execute(rename.format(restored, name))
                    break
                except errors.ObjectInUse as error:
                    if time.monotonic() >= deadline:
                        reason = "it is in use all the time"
                        hint = "end what uses it, and restore the snapshot again"
                        raise Failed(_failed("replace the database", reason, hint=hint)) from error

    def discard(self) -> None:
        """Drop what an earlier restore has left."""
        from psycopg import sql

        with self._maintenance() as connection:
            for name in (_RESTORED, _REPLACED):
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )

    @contextmanager
    def _maintenance(self) -> Iterator[BoundedConnection]:
        """A connection to the server that holds no place in the database, without transactions."""
        import psycopg

        try:
            dsn: dict[str, Any] = {**self.session.dsn, "dbname": "template1", "autocommit": True}
            with connect(STATEMENT_SECONDS * 4, **dsn) as connection:
                yield connection
        except psycopg.Error as error:
            raise translate_error(error, self.session.location) from error

    @contextmanager
    def _program(
        self, words: Sequence[str], stdin: int | IO[bytes], stdout: int
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A program of the server's, which is killed unless it has ended within the limit.

        Raises Failed (`snapshot-failed`) unless it ends well.
        """
        program = self.run_beside(words)
        environ = dict(self.environ)
        for name, value in program.environment.items():
            environ[name] = value.reveal() if isinstance(value, Secret) else value
        environ["PATH"] = os.pathsep.join((*program.path, environ.get("PATH", os.defpath)))
        with tempfile.TemporaryFile() as complaints:
            try:
                process = subprocess.Popen(
                    program.words,
                    env=environ,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=complaints,
                    start_new_session=True,
                )
            except OSError as error:
                raise Failed(_failed(f"run {words[0]}", error.strerror or str(error))) from error
            timer = threading.Timer(LIMIT_SECONDS, process.kill)
            timer.daemon = True
            timer.start()
            try:
                yield process
                code = process.wait()
            finally:
                timer.cancel()
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
            if code:
                complaints.seek(0)
                lines = complaints.read(_CHUNK).decode(errors="replace").splitlines()
                raise Failed(_failed(f"run {words[0]}", f"it ended with {code}", lines[-5:]))


def _failed(what: str, reason: str, detail: Sequence[str] = (), hint: str = "") -> Problem:
    return Problem(
        "snapshot-failed",
        f"cannot {what}: {reason}",
        hint or "correct what it complains about, and run it again; nothing has been changed",
        detail=tuple(detail),
    )
