"""The lock of an environment: one run at a time changes it.

The kernel releases the lock on an open file when its process ends, so a lock file left behind
blocks nothing and needs no cleanup. The content of the file only names the holder in messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass, field_names
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Locked, Problem
from algaenv.system import locks, processes

LOCK_FILE: Final = "lock"

_PAUSE = 0.05
_HOLDER_SECONDS = 0.2
"""Seconds in which a new holder writes its entry."""
_MAX_HOLDER_BYTES = 4096
"""Bytes of the file that are read."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The holder of a lock. `start` is in clock ticks since boot, `since` is ISO 8601 in UTC."""

    pid: int
    start: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        place = "" if self.host == os.uname().nodename else f" on {self.host}"
        return f"`{self.command}` (process {self.pid}{place}) since {self.since}"


@contextlib.contextmanager
def hold(
    environment: Environment,
    command: str,
    *,
    wait: float = 0.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Hold the lock of the environment during a `with`; `command` is shown to other runs.

    Raises Locked (`locked`) when another run holds it for longer than `wait` seconds, or until
    `cancelled`, Failed when
    the file system has no locks (`lock-unsupported`), and what `open_state_dir` raises.
    """
    descriptor = _acquire(environment, time.monotonic() + wait, cancelled)
    try:
        _write_holder(descriptor, command)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


@contextlib.contextmanager
def exclusive_file_lock(
    path: Path, on_progress: Callable[[str], None], cancelled: Callable[[], bool]
) -> Iterator[bool]:
    """Hold an exclusive lock on the file `path`, waiting for another process that has it.

    `on_progress` is called once when there is a wait. Yields False when `cancelled` ended the wait.
    Raises Failed.
    """
    with _lock_errors(path):
        notified = False
        while (descriptor := locks.open_locked(path)) is None and not cancelled():
            if not notified:
                on_progress("waiting until another run of algaenv is done with it")
            notified = True
            time.sleep(_PAUSE)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _acquire(environment: Environment, deadline: float, cancelled: Callable[[], bool]) -> int:
    path = environment.home / LOCK_FILE
    with _lock_errors(path):
        return locks.acquire(
            path,
            deadline,
            _PAUSE,
            prepare=lambda: state_dir.open_state_dir(environment),
            busy=lambda descriptor: Locked(_problem(environment, _read_holder(descriptor))),
            cancelled=cancelled,
        )


@contextlib.contextmanager
def _lock_errors(path: Path) -> Iterator[None]:
    with private_files.translate_os_errors(path):
        try:
            yield
        except locks.LockUnsupported as error:
            raise Failed(
                Problem(
                    "lock-unsupported",
                    f"cannot lock {path}: {error.strerror or error}",
                    "move the spec to a local file system, which knows locks",
                )
            ) from error


def _write_holder(descriptor: int, command: str) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    holder = LockHolder(
        os.getpid(), _start_of(os.getpid()) or 0, os.uname().nodename, command, since
    )
    content = json.dumps({name: getattr(holder, name) for name in field_names(holder)}).encode()
    # A full disk must not prevent a `down` that frees it: the lock holds all the same.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)


def _read_holder(descriptor: int) -> LockHolder | None:
    """The holder; None when it is unknown. The entry of a dead process is ignored."""
    deadline = time.monotonic() + _HOLDER_SECONDS
    while True:
        holder = _parse_holder(os.pread(descriptor, _MAX_HOLDER_BYTES, 0))
        if holder is not None and _is_alive(holder):
            return holder
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE / 10)


def last_holder(environment: Environment) -> LockHolder | None:
    """The holder that the lock file names: at work, or killed. None after a run that ended.

    Raises OSError.
    """
    return _parse_holder((environment.home / LOCK_FILE).read_bytes()[:_MAX_HOLDER_BYTES])


def _parse_holder(content: bytes) -> LockHolder | None:
    try:
        holder = LockHolder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(holder.pid, int) and isinstance(holder.start, int)
    return holder if whole and isinstance(holder.command, str) else None


def _is_alive(holder: LockHolder) -> bool:
    return holder.host != os.uname().nodename or _start_of(holder.pid) == holder.start


def _start_of(pid: int) -> int | None:
    seen = processes.stat(pid)
    return seen.start if seen else None


def _problem(environment: Environment, holder: LockHolder | None) -> Problem:
    who = str(holder) if holder else "another run"
    own = holder is not None and holder.host == os.uname().nodename
    stop = f", or stop it with `kill {holder.pid}`" if holder and own else ""
    return Problem(
        "locked",
        f"cannot work on {environment.name}: {who} is at work on it",
        f"wait until it has ended{stop}",
    )
