"""Prepares PostgreSQL's data directory before the server starts: initdb, version check, login.

A new directory is renamed into place once it is complete, so an existing one can be trusted. Stale
locks of a killed server are removed.

PostgreSQL takes no user, password and database at start. They are written in single-user mode,
which needs neither a port nor the previous password. This also applies a changed spec, and undoes
changes made by hand.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.process.drivers.lifecycle import wait_for_exit
from algaenv.runtimes.process.drivers.postgres import (
    TEMPORARY_PREFIX,
    Postgres,
    cluster_problem,
    temporary_name,
)
from algaenv.runtimes.process.layout import content, data_version
from algaenv.runtimes.process.specs import DatabaseAccess
from algaenv.system import files, processes

_LOCK = "postmaster.pid"
_EXIT_SECONDS = 10.0
_PG_HBA = """\
# Written by algaenv: whoever knows a password, from this machine.
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of one environment and its server program.

    `templates` is the directory of template clusters; None runs initdb for every cluster.
    """

    postgres: Postgres
    folder: Path
    templates: Path | None

    @property
    def data_directory(self) -> Path:
        """The data directory of the server."""
        return content(self.folder)

    def prepare(self, access: DatabaseAccess, on_progress: OnProgress) -> None:
        """Create or check the cluster, and write `access` if it changed; no server may run on it.

        Raises Conflict for foreign data or data of another version, Failed when a tool fails.
        """
        for left in self.folder.glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        if not (self.data_directory / "PG_VERSION").exists():
            self._refuse_unknown()
            self._make(access, on_progress)
            return
        self._refuse_other_version()
        self._clear_lock()
        self.postgres.chown_data(self.data_directory)
        if not is_access_current(self.folder, access):
            on_progress("writing user, password and database")
            grant_access(self.postgres, self.data_directory, access)
            save_access(self.folder, access)

    def _make(self, access: DatabaseAccess, on_progress: OnProgress) -> None:
        fresh = temporary_name(self.folder)
        try:
            on_progress("making the data directory")
            self.postgres.make(fresh, self.templates, on_progress)
            (fresh / "pg_hba.conf").write_text(_PG_HBA)
            self.postgres.chown_data(fresh)
            # Syncing hundreds of unchanged files would take a second.
            grant_access(self.postgres, fresh, access, fsync="off")
            save_access(self.folder, access)
            fresh.rename(self.data_directory)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _refuse_unknown(self) -> None:
        directory = self.data_directory
        if directory.is_dir() and any(directory.iterdir()):
            raise Conflict(
                Problem(
                    "data-unknown",
                    f"cannot make a PostgreSQL data directory at {directory}: it is not empty",
                    "see what it holds, and move it away",
                )
            )

    def _refuse_other_version(self) -> None:
        made_by = data_version(self.folder)
        if self.postgres.major != made_by:
            raise Conflict(
                Problem(
                    "data-version",
                    f"cannot run PostgreSQL {self.postgres.version} ({self.postgres.path}) on "
                    f"data that PostgreSQL {made_by} made",
                    f"install PostgreSQL {made_by}, or move {self.folder} away to start afresh",
                )
            )

    def _clear_lock(self) -> None:
        """Remove the lock of a killed server; its pid may belong to another process by now."""
        lock = self.data_directory / _LOCK
        if not lock.exists():
            return
        here = os.path.realpath(self.data_directory)
        workers = [
            process
            for pid in processes.pids()
            if processes.working_directory(pid) == here and (process := processes.identify(pid))
        ]
        # Workers of a server that was just killed exit within moments.
        left = wait_for_exit(workers, _EXIT_SECONDS)
        if left:
            names = ", ".join(f"{each.pid} ({processes.command(each.pid)})" for each in left)
            raise Conflict(
                Problem(
                    "data-in-use",
                    f"cannot start PostgreSQL on {self.data_directory}: in use by process {names}",
                    "end it, and run this again",
                )
            )
        lock.unlink(missing_ok=True)


_ACCESS_FILE = ".algaenv-access.json"
"""Beside the cluster: the login that was written, the password as a digest."""
_DUPLICATE_DATABASE = "42P04"
_SETTINGS = {
    # Else a failed statement is logged, password included.
    "log_min_error_statement": "panic",
    # Each line then begins with its SQLSTATE.
    "log_line_prefix": "%e ",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}


def is_access_current(folder: Path, access: DatabaseAccess) -> bool:
    """Whether `access` is what was last written into the cluster in `folder`."""
    try:
        return (folder / _ACCESS_FILE).read_text() == _access_json(access)
    except OSError:
        return False


def forget_access(folder: Path) -> None:
    """Have the login written again next time."""
    (folder / _ACCESS_FILE).unlink(missing_ok=True)


def save_access(folder: Path, access: DatabaseAccess) -> None:
    """Record that `access` was written."""
    files.write_atomic(folder / _ACCESS_FILE, _access_json(access).encode())


def grant_access(
    postgres: Postgres, place: Path, access: DatabaseAccess, *, fsync: str = "on"
) -> None:
    """Create or alter the role, and create the database if it does not exist.

    Uses standard input, since a command line is public. Raises Failed (`cluster-failed`).
    """
    user, database = _identifier(access.user), _identifier(access.database)
    found = f"SELECT FROM pg_catalog.pg_roles WHERE rolname = {_literal(access.user)}"
    output = postgres.run_single_user(
        place,
        {**_SETTINGS, "fsync": fsync},
        (
            f"DO $do$BEGIN IF NOT EXISTS ({found}) THEN CREATE ROLE {user}; END IF; END$do$",
            f"ALTER ROLE {user} SUPERUSER LOGIN PASSWORD {_literal(access.password.reveal())}",
            f"CREATE DATABASE {database} OWNER {user}",
        ),
    )
    if any(_is_error(line) for line in output):
        raise Failed(cluster_problem("writing user, password and database", output))


def _access_json(access: DatabaseAccess) -> str:
    facts = {"user": access.user, "database": access.database, "password": access.digest}
    return json.dumps(facts, indent=1, sort_keys=True)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """Line breaks are escaped, since a statement ends with its line."""
    for plain, escaped in (("\\", "\\\\"), ("'", "''"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f"E'{text}'"


def _is_error(line: str) -> bool:
    state, _, rest = line.partition(" ")
    severe = rest.startswith(("ERROR:", "FATAL:", "PANIC:"))
    return severe and state != _DUPLICATE_DATABASE
