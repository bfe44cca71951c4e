"""Who may log in to a cluster: a user, a password and a database, written into it as rows.

PostgreSQL takes none of them at start. They are typed into the server in single-user mode, which
needs neither a port nor an older password; so this also brings a cluster up to a changed spec, and
makes good what was changed by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

from algaenv.model.problem import Failed
from algaenv.runtimes.process.bodies import Access
from algaenv.runtimes.process.layout import write_private
from algaenv.runtimes.process.postgres import Postgres, failed

_FILE = ".algaenv-access.json"
"""Beside the cluster: what was written into it, the password as a digest."""
_DUPLICATE_DATABASE = "42P04"
_SETTINGS = {
    # A statement that fails is logged as it stands, password and all, unless told not to.
    "log_min_error_statement": "panic",
    # Each line then begins with its SQLSTATE.
    "log_line_prefix": "%e ",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}


def known(folder: Path, access: Access) -> bool:
    """Whether just this was written into the cluster in `folder` before."""
    try:
        return (folder / _FILE).read_text() == _spelled(access)
    except OSError:
        return False


def forget(folder: Path) -> None:
    """Have it written again next time, whatever became of it."""
    (folder / _FILE).unlink(missing_ok=True)


def remember(folder: Path, access: Access) -> None:
    """Note what was written."""
    write_private(folder / _FILE, _spelled(access))


def admit(postgres: Postgres, place: Path, access: Access, *, fsync: str = "on") -> None:
    """Let the user in with this password, and make the database if it is not there.

    Typed, since a password on a command line is public. Raises Failed (`cluster-failed`).
    """
    user, database = _identifier(access.user), _identifier(access.database)
    found = f"SELECT FROM pg_catalog.pg_roles WHERE rolname = {_literal(access.user)}"
    said = postgres.type_in(
        place,
        {**_SETTINGS, "fsync": fsync},
        (
            f"DO $do$BEGIN IF NOT EXISTS ({found}) THEN CREATE ROLE {user}; END IF; END$do$",
            f"ALTER ROLE {user} SUPERUSER LOGIN PASSWORD {_literal(access.password.reveal())}",
            f"CREATE DATABASE {database} OWNER {user}",
        ),
    )
    if any(_is_error(line) for line in said):
        raise Failed(failed("writing user, password and database", said))


def _spelled(access: Access) -> str:
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
