"""What a service leaves for others: its record, the marks of its processes, and its log.

The record is a JSON file that both the driver and the supervisor write. The driver writes it with
all that the supervisor must know; from then on the supervisor updates it. It holds no secrets:
those reach the supervisor by its environment.

The marks are variables that the processes were started with. A record can get lost; its processes
are then found by their marks.

The log is rotated at a limit; its last lines are shown in diagnostics.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, cast

from algaenv.system import files, processes
from algaenv.system.processes import Identity

if TYPE_CHECKING:
    from algaenv.runtimes.process.supervisor.privileges import IsolationMode

VERSION: Final = 1
State = Literal["new", "running", "waiting", "stopping", "exited", "stopped"]
"""`waiting`: it died and will be started again. `exited`: it died for good. `stopped`: as asked."""
ENVIRONMENT_MARK: Final = "ALGAENV_ENVIRONMENT"
ADDRESS_MARK: Final = "ALGAENV_ADDRESS"
SPEC_MARK: Final = "ALGAENV_SPEC"
FINGERPRINT_MARK: Final = "ALGAENV_FINGERPRINT"
SUPERVISOR_MARK: Final = "ALGAENV_SHIM"
"""Set for the supervisor only; its service carries all other marks."""
_MARK_PREFIX: Final = b"ALGAENV_"
LOG_LIMIT: Final = 5 * 1024 * 1024
"""Bytes in the current file; the one before it is kept as `<name>.1`."""


class ProcessEntry(TypedDict):
    """A process as records have it; see `processes.Identity`."""

    pid: int
    start: int


class ServiceRecord(TypedDict):
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


def read(path: str) -> ServiceRecord | None:
    """None when there is no valid record."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - pathlib is slow to import
            kept = json.load(stream)
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("version") != VERSION:
        return None
    return cast(ServiceRecord, kept) if ServiceRecord.__required_keys__ <= kept.keys() else None


def write(path: str, record: ServiceRecord) -> None:
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


def marks_of(pid: int) -> Mapping[str, str]:
    """The `ALGAENV_…` variables a process was started with; empty when they cannot be read."""
    block = processes.environ_block(pid)
    if _MARK_PREFIX not in block:
        return {}
    pairs = (
        entry.partition(b"=") for entry in block.split(b"\0") if entry.startswith(_MARK_PREFIX)
    )
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def marked_processes(environment: str) -> Iterator[tuple[Identity, Mapping[str, str]]]:
    """The live processes of this user that carry the environment's id, with their marks."""
    user = os.geteuid()
    for pid in processes.pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid != user:  # noqa: PTH116 - hundreds of them
                continue
        except OSError:
            continue
        found = marks_of(pid)
        if found.get(ENVIRONMENT_MARK) == environment and ADDRESS_MARK in found:
            process = processes.identify(pid)
            if process:
                yield process, found


class ServiceLogFile:
    """Appends to a log; starts a new file when it is opened and when the current one is full.

    A full disk must not stop the service, so lines that cannot be written are dropped.
    """

    def __init__(self, path: str, limit: int = LOG_LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._size = 0
        self._descriptor: int | None = None
        self._rotate()

    def write(self, text: bytes) -> None:
        """Append `text` as it is."""
        if self._size + len(text) > self._limit and self._size:
            self._rotate()
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._size += os.write(self._descriptor, text)

    def _rotate(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with contextlib.suppress(OSError):
            os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 - pathlib is slow to import
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._path, flags, 0o600)
        self._size = 0


def log_tail(path: str, lines: int = 20, reach: int = 16384) -> tuple[str, ...]:
    """The last lines of a file, found in its last `reach` bytes; empty when it is not there."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - reach))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-lines:])
