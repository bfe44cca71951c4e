"""The lock of an environment: one run at a time changes it.

The kernel releases the lock on an open file when its process ends, so a lock file left behind
blocks nothing and needs no cleanup. The content of the file only names the holder in messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Locked, Problem

LOCK_FILE: Final = "lock"

_PAUSE = 0.05
_HOLDER_SECONDS = 0.2
"""Seconds in which a new holder writes its entry."""
_KILL_SECONDS = 2.0
"""Seconds in which a killed process ends."""
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
def hold(environment: Environment, command: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of the environment during a `with`; `command` is shown to other runs.

    Raises Locked (`locked`) when another run holds it for longer than `wait` seconds, Failed when
    the file system has no locks (`lock-unsupported`), and what `open_state_dir` raises.
    """
    descriptor = _acquire(environment, time.monotonic() + wait)
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
    descriptor = _open(path)
    try:
        notified = False
        while not (held := _locked(descriptor, path)) and not cancelled():
            if not notified:
                on_progress("waiting until another run of algaenv is done with it")
            notified = True
            time.sleep(_PAUSE)
        yield held
    finally:
        os.close(descriptor)


def kill_marked_processes(variable: str, value: str) -> int:
    """Kill every process of ours that was started with `variable` set to `value`; how many.

    A run that was killed leaves such processes. Returns once they are gone, or after a while for
    one that the kernel itself keeps.
    """
    mark = os.fsencode(f"{variable}={value}")
    found = [pid for pid in _other_processes() if _is_marked(pid, mark)]
    handles = [handle for pid in found if (handle := _kill(pid, mark)) is not None]
    deadline = time.monotonic() + _KILL_SECONDS
    for handle in handles:
        select.select([handle], [], [], max(deadline - time.monotonic(), 0))
        os.close(handle)
    return len(handles)


def _other_processes() -> list[int]:
    own = os.getpid()
    return [
        int(it.name) for it in os.scandir("/proc") if it.name.isdecimal() and it.name != str(own)
    ]


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _kill(pid: int, mark: bytes) -> int | None:
    """Kill a process; returns a pidfd that becomes readable when it has ended."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    # The number may have passed to another process before the handle was taken.
    if not _is_marked(pid, mark):
        os.close(handle)
        return None
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    return handle


def _acquire(environment: Environment, deadline: float) -> int:
    path = environment.home / LOCK_FILE
    while True:
        state_dir.open_state_dir(environment)
        descriptor = _open(path)
        try:
            _wait(descriptor, environment, deadline)
            # Its holder may have removed the directory: then no other run would meet this lock.
            if _is_same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with private_files.translate_os_errors(path):
        return os.open(path, flags, private_files.PRIVATE_FILE)


def _wait(descriptor: int, environment: Environment, deadline: float) -> None:
    while not _locked(descriptor, environment.home / LOCK_FILE):
        if time.monotonic() >= deadline:
            raise Locked(_problem(environment, _read_holder(descriptor)))
        time.sleep(_PAUSE)


def _locked(descriptor: int, path: Path) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise Failed(
            Problem(
                "lock-unsupported",
                f"cannot lock {path}: {error.strerror or error}",
                "move the spec to a local file system, which knows locks",
            )
        ) from error
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = path.lstat()
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _write_holder(descriptor: int, command: str) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    holder = LockHolder(os.getpid(), _start_of("self") or 0, os.uname().nodename, command, since)
    content = json.dumps(asdict(holder)).encode()
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


def _parse_holder(content: bytes) -> LockHolder | None:
    try:
        holder = LockHolder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(holder.pid, int) and isinstance(holder.start, int)
    return holder if whole and isinstance(holder.command, str) else None


def _is_alive(holder: LockHolder) -> bool:
    return holder.host != os.uname().nodename or _start_of(str(holder.pid)) == holder.start


def _start_of(process: str) -> int | None:
    try:
        status = Path("/proc", process, "stat").read_bytes()
        # The name, in parentheses, may hold anything; the start is the 22nd field of all.
        return int(status.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _problem(environment: Environment, holder: LockHolder | None) -> Problem:
    who = str(holder) if holder else "another run"
    own = holder is not None and holder.host == os.uname().nodename
    stop = f", or stop it with `kill {holder.pid}`" if holder and own else ""
    return Problem(
        "locked",
        f"cannot work on {environment.name}: {who} is at work on it",
        f"wait until it has ended{stop}",
    )
