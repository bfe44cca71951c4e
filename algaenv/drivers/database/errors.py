"""What the PostgreSQL driver raises, as errors of ours, by its SQLSTATE.

A failed login carries none, so there the server's words decide. Only the primary message of an
error is ever repeated: its details quote rows, and rows hold secrets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Conflict, DriverError, Failed, Problem, Refused, Unavailable

if TYPE_CHECKING:
    import psycopg

# Patterns as text: they are compiled for an error only, which most runs do not meet.
_USERINFO = r"(://[^\s/:@]*):\S*@"
_BEFORE_AT = r"[^\s/:'\"]*@"
_ENCODED = r'"[^"]*%[^"]*"'
_BUSY_STATES = {"40001", "40P01", "55P03", "57014", "53300"}
_RESTARTING_STATES = {"57P01", "57P02", "57P03", "57P05", "58000"}
_LOST = r"server closed the connection|connection (?:is|was) (?:lost|closed)"
_MESSAGE_PATTERNS = {
    "28P01": r"password authentication failed|no password supplied|role .* not exist",
    "28000": r"no pg_hba\.conf entry|not permitted to log in|peer authentication",
    "3D000": r"database \"?.*\"? does not exist",
    "42501": r"permission denied for database",
    "53300": r"too many (?:clients|connections)|connection slots",
    "57P03": r"(?:starting up|shutting down|not yet accepting|in recovery)",
}


@dataclass(frozen=True, slots=True)
class DatabaseLocation:
    """Where the database is, in words that may be shown."""

    label: str
    managed: bool
    variables: tuple[str, ...] = ()
    """Names of the shell's variables that libpq reads beside the address of an external one."""

    def append_variables(self, hint: str) -> str:
        """`hint`, and what else decides where a connection goes and who logs in."""
        if not self.variables:
            return hint
        named = ", ".join(self.variables)
        return f"{hint}; {named} of your shell counts too: unset it, or write it into the address"


def redact_passwords(text: str) -> str:
    """The first line of `text`, without what may be a password in a URL, or a part of one."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    for pattern, shown in ((_USERINFO, r"\1:***@"), (_BEFORE_AT, "***@"), (_ENCODED, '"***"')):
        first = re.sub(pattern, shown, first)
    return first


def translate_error(error: psycopg.Error, location: DatabaseLocation) -> DriverError:
    """What to raise instead of `error`, whose own text loses its details too."""
    import psycopg

    message = redact_passwords(error.diag.message_primary or str(error))
    error.args = (message,)
    state = error.sqlstate or _state_in(message)
    if isinstance(error, psycopg.ProgrammingError) and not state:
        return Refused(
            Problem(
                "database-url",
                f"cannot understand the address of the database: {message}",
                location.append_variables(
                    "write it as postgresql://user:password@host:port/database"
                ),
            )
        )
    if not state or state.startswith("08") or state in _RESTARTING_STATES:
        return unreachable_error(message, location)
    return _error_for_state(state, message, location)


def is_about_the_server(error: psycopg.Error) -> bool:
    """Whether the server, and not the statement, is what is wrong: another try may succeed."""
    state = error.sqlstate or _state_in(str(error))
    away = not state or state.startswith(("08", "53")) or state in _RESTARTING_STATES
    return away or state in _BUSY_STATES


def _state_in(message: str) -> str:
    if re.search(_LOST, message):
        return "08006"
    return next(
        (state for state, words in _MESSAGE_PATTERNS.items() if re.search(words, message)), ""
    )


def unreachable_error(message: str, location: DatabaseLocation) -> DriverError:
    """The error for a server that does not answer; `message` says how that was noticed."""
    reason = message.rpartition(" failed: ")[2]
    hint = (
        "run `algaenv up`, which starts it, or shows why it ends"
        if location.managed
        else location.append_variables("start it, or mend `database.url` in the spec")
    )
    return Unavailable(
        Problem("database-unreachable", f"cannot reach {location.label}: {reason}", hint)
    )


def _error_for_state(state: str, message: str, location: DatabaseLocation) -> DriverError:
    if state in ("28P01", "28000"):
        return Refused(_password(message, location))
    if state == "3D000":
        return Refused(_missing_database(location))
    if state in _BUSY_STATES:
        return Unavailable(
            Problem(
                "database-busy",
                f"cannot get a turn in {location.label}: {message}",
                "another transaction holds the rows; end it and run this again",
            )
        )
    if state == "42501":
        return Refused(
            Problem(
                "database-permission",
                f"cannot do this in {location.label}: {message}",
                "use a database user that owns Alga's tables",
            )
        )
    if state == "25006":
        return Refused(
            Problem(
                "database-read-only",
                f"cannot write to {location.label}: {message}",
                "name the primary server, not a standby",
            )
        )
    if state in ("42P01", "42703", "3F000"):
        return Refused(
            Problem(
                "schema-missing",
                f"cannot use {location.label}: {message}",
                "run `algaenv up` again; for an external database run Alga's EE migrations",
            )
        )
    if state in ("22P05", "22021"):
        return Refused(
            Problem(
                "text-unstorable",
                f"cannot store a text in {location.label}: {message}",
                "take the character U+0000 out of the configuration",
            )
        )
    if state.startswith("23") or state == "2BP01":
        return Conflict(
            Problem(
                "rows-conflict",
                f"cannot change the rows in {location.label}: {message}",
                "remove the row that is in the way; the constraint's name says in which table",
            )
        )
    if state.startswith("53"):
        return Failed(
            Problem(
                "database-full",
                f"cannot write to {location.label}: {message}",
                "free disk space or memory for the server",
            )
        )
    return Failed(
        Problem(
            "database-error",
            f"cannot finish in {location.label}: {message} (SQLSTATE {state})",
            "look the SQLSTATE up in PostgreSQL's documentation, appendix A",
        )
    )


def _password(message: str, location: DatabaseLocation) -> Problem:
    hint = (
        "a kept volume keeps the password it was first made with: write that one into"
        " `database.password`, or start afresh with `algaenv down --volumes`"
        if location.managed
        else location.append_variables("mend the user and the password in `database.url`")
    )
    reason = message.rpartition("FATAL: ")[2].strip()
    return Problem("database-password", f"cannot log in to {location.label}: {reason}", hint)


def _missing_database(location: DatabaseLocation) -> Problem:
    hint = (
        "a kept volume keeps the database it was first made with: write its name into"
        " `database.name`, or start afresh with `algaenv down --volumes`"
        if location.managed
        else location.append_variables("run Alga's set-up, or mend the name in `database.url`")
    )
    return Problem("database-missing", f"cannot find {location.label}: no such database", hint)
