"""The one `dev` of an environment: its lock, and its record that others follow.

`logs/dev.lock` is held while it runs and names its process. `logs/dev.jsonl` has its events, as
`--json` prints them, from its beginning; `logs/dev.log` has the same as plain lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TextIO

from algaenv.bundle.value import dataclass
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Locked, Problem
from algaenv.system import locks, processes

MAX_RECORD_BYTES: Final = 4 << 20
"""Size of a record at which it begins anew."""
_PAUSE: Final = 0.05
_STOP_SECONDS: Final = 30.0
_MAX_HOLDER_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """The process of a session. `start` is in clock ticks since boot, `since` is ISO 8601."""

    pid: int
    start: int
    host: str
    since: str

    @property
    def is_here(self) -> bool:
        """Whether it is a process that can be seen from here."""
        seen = processes.stat(self.pid) if self.host == os.uname().nodename else None
        return seen is not None and seen.start == self.start

    def __str__(self) -> str:
        place = "" if self.host == os.uname().nodename else f" on {self.host}"
        return f"`algaenv dev` (process {self.pid}{place}, since {self.since})"


class Session:
    """A session that this process holds, and its record."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        self._records = {name: _Record(directory / f"dev.{name}") for name in ("jsonl", "log")}

    def write(self, *, document: str = "", text: str = "") -> None:
        """Add lines to the records. A full disk loses them, and stops nothing."""
        for name, lines in (("jsonl", document), ("log", text)):
            if lines:
                self._records[name].write(lines)

    def close(self) -> None:
        """Give the lock back."""
        for record in self._records.values():
            record.close()
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class _Record:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._size = 0
        self._open()

    def _open(self) -> None:
        """A new file each time: who follows the old one reads it to its end."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, locks.PRIVATE)
            self._file = open(descriptor, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123, SIM115
            self._size = 0

    def write(self, lines: str) -> None:
        if self._size > MAX_RECORD_BYTES:
            self.close()
            self._open()
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.write(lines)
            self._file.flush()
            self._size += len(lines)

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def open_session(environment: Environment) -> Session | None:
    """Begin the session of this environment; None when another process has it.

    Raises Failed and what the state directory raises.
    """
    directory = _directory(environment)
    with private_files.translate_os_errors(directory):
        directory.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        try:
            descriptor = locks.open_locked(directory / "dev.lock")
        except locks.LockUnsupported as error:
            raise Failed(
                Problem(
                    "lock-unsupported",
                    f"cannot lock {directory}/dev.lock: {error.strerror or error}",
                    "move the spec to a local file system, which knows locks",
                )
            ) from error
        deadline = time.monotonic() + _PAUSE * 10
        while descriptor is None and time.monotonic() < deadline:
            # A process that looks whether it is held holds it for a moment.
            time.sleep(_PAUSE)
            descriptor = locks.open_locked(directory / "dev.lock")
    if descriptor is None:
        return None
    seen = processes.stat(os.getpid())
    holder = {
        "pid": os.getpid(),
        "start": seen.start if seen else 0,
        "host": os.uname().nodename,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    return Session(directory, descriptor)


def active_session(environment: Environment) -> Holder | None:
    """Who holds the session of an environment; None when nobody does."""
    path = environment.home / "logs" / "dev.lock"
    try:
        if not locks.is_locked(path):
            return None
        with path.open("rb") as file:
            return Holder(**json.loads(file.read(_MAX_HOLDER_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def stop_session(holder: Holder, environment: Environment) -> None:
    """End a session as Ctrl-C would, and wait for it. Raises Locked when it does not end."""
    if holder.is_here:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(holder.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            if active_session(environment) is None:
                return
            time.sleep(_PAUSE)
    raise Locked(
        Problem(
            "locked",
            f"cannot work on {environment.name}: {holder} is at work on it",
            "end it with Ctrl-C where it runs",
        )
    )


def follow(
    environment: Environment, name: str, ended: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """The lines of a session's record (`jsonl` or `log`), until the session or the reader ends."""
    path = environment.home / "logs" / f"dev.{name}"
    file: TextIO | None = None
    rest = ""
    try:
        while not ended():
            over = active_session(environment) is None
            if file is None or _was_replaced(file, path):
                with contextlib.suppress(OSError):
                    newer = path.open(encoding="utf-8", errors="replace")
                    if file is not None:
                        yield from file.read().splitlines(keepends=True)
                        file.close()
                    file, rest = newer, ""
            block = rest + (file.read() if file is not None else "")
            *lines, rest = block.splitlines(keepends=True) or [""]
            if rest.endswith("\n"):
                lines, rest = [*lines, rest], ""
            yield from lines
            if over:
                return
            if not lines:
                time.sleep(_PAUSE)
    finally:
        if file is not None:
            file.close()


def _was_replaced(file: TextIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    except OSError:
        return False


def _directory(environment: Environment) -> Path:
    return state_dir.open_state_dir(environment) / "logs"
