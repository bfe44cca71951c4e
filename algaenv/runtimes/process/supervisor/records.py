"""The record of a service: a JSON file that both the driver and the supervisor write.

The driver writes it with all that the supervisor must know; from then on the supervisor updates it.
It holds no secrets: those reach the supervisor by its environment.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any, Final, Literal, TypedDict, cast

from algaenv.runtimes.process.supervisor.privileges import IsolationMode
from algaenv.system import files
from algaenv.system.processes import Identity

VERSION: Final = 1
State = Literal["new", "running", "waiting", "stopping", "exited", "stopped"]
"""`waiting`: it died and will be started again. `exited`: it died for good. `stopped`: as asked."""


class ProcessEntry(TypedDict):
    """A process as records have it; see `procfs.Identity`."""

    pid: int
    start: int


class Record(TypedDict):
    """One service. Times are seconds since the epoch."""

    version: int
    environment: str
    address: str
    fingerprint: str
    inputs: dict[str, Any]
    engine: str
    boot: str
    """The boot the processes belong to."""
    argv: list[str]
    directory: str
    """Where it runs."""
    folder: str
    """What holds its data; empty when it keeps none."""
    way: IsolationMode
    stop_signal: str
    grace: float
    """Seconds it is given to stop."""
    steady: float
    """Seconds it must have run to be started again when it dies."""
    log: str
    log_limit: int
    """Bytes in one log file; one older file is kept."""
    state: State
    shim: ProcessEntry | None
    child: ProcessEntry | None
    started_at: float | None
    ended_at: float | None
    ran: float | None
    """Seconds the last one ran."""
    exit_code: int | None
    """Of the last one that ended; negative for a signal."""
    restarts: int


def read(path: str) -> Record | None:
    """None when there is no valid record."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - pathlib is slow to import
            kept = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("version") != VERSION:
        return None
    return cast(Record, kept) if Record.__required_keys__ <= kept.keys() else None


def write(path: str, record: Record) -> None:
    """Replace the record in one step; readers see the old one or the new one."""
    name = os.path.basename(path)  # noqa: PTH119
    files.write_atomic(path, json.dumps(record).encode(), prefix=f"{name}.")


def process_entry(process: Identity | None) -> ProcessEntry | None:
    """The record's form of a process."""
    return ProcessEntry(pid=process.pid, start=process.start) if process else None


def process_identity(process: ProcessEntry | None) -> Identity | None:
    """The process of a record's entry."""
    return Identity(process["pid"], process["start"]) if process else None


def describe_exit(code: int) -> str:
    """A phrase about how a process ended, from its exit code."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
