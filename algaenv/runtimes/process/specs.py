"""The bodies of this runtime's resources: all that a driver needs to create one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model import kind
from algaenv.model.secret import Secret
from algaenv.runtimes.services import Values

FOLDER = kind.FOLDER.name
PROCESS = kind.PROCESS.name


@dataclass(frozen=True, slots=True)
class FolderSpec:
    """A directory that outlives its service."""

    path: Path


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """A database login; `digest` stands for the password in our own files."""

    user: str
    password: Secret
    database: str
    digest: str


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A service, ready to run.

    `argv` starts with an absolute path and holds no secret. `ports` are all that it listens on.
    `access` is set for PostgreSQL alone, whose data directory has to be made first.
    """

    engine: str
    argv: tuple[str, ...]
    environment: Values
    """All variables, except for secrets that `files` hold."""
    wanted_environment: Values
    """The variables that come from the spec; a change restarts the service."""
    files: Values
    ports: Mapping[str, int]
    folder: Path | None
    stop_signal: str
    grace: float
    """Seconds it is given to stop."""
    steady: float = 5.0
    """Seconds it must have run to be started again when it dies."""
    access: DatabaseAccess | None = None
    directory: Path | None = None
    """It runs in; None: that of its files."""
