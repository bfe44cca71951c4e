"""Holds an environment, so that one run at a time changes it.

The kernel's lock on an open file ends with its process however that dies, so a file left behind is
no obstacle and nothing must ever be cleaned up by hand. What stands in the file only serves to say
who it is that one has to wait for.
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
from algaenv.drivers import home
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Locked, Problem

FILE: Final = "lock"

_PAUSE = 0.05
_GRACE = 0.2
"""Seconds a new holder is given to write who it is."""
_LAST = 2.0
"""Seconds a killed process is given to be gone."""
_LONGEST = 4096
"""Bytes of the file that are read."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who holds an environment. `start` is in clock ticks since boot, `since` ISO 8601 in UTC."""

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
    """Hold the environment for the time of a `with`; `command` says to others what for.

    A second one is told at once, or after `wait` seconds, by Locked (`locked`). Raises Failed when
    the file system knows no locks (`lock-unsupported`), and what the home raises.
    """
    descriptor = _acquire(environment, time.monotonic() + wait)
    try:
        _sign(descriptor, command)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


@contextlib.contextmanager
def alone(
    path: Path, on_progress: Callable[[str], None], cancelled: Callable[[], bool]
) -> Iterator[bool]:
    """Do something that takes a while alone, waiting for whoever does it already.

    `path` is the file that is locked; `say` is told once that there is a wait. Yields False when
    `cancelled` ended the wait. Raises Failed.
    """
    descriptor = _open(path)
    try:
        told = False
        while not (held := _locked(descriptor, path)) and not cancelled():
            if not told:
                on_progress("waiting until another run of algaenv is done with it")
            told = True
            time.sleep(_PAUSE)
        yield held
    finally:
        os.close(descriptor)


def reap(variable: str, value: str) -> int:
    """End every process of ours that was started with `variable` set to `value`; how many.

    They are what a run that was killed has left, found by this mark alone. Returns once they are
    gone, or after a while for one that the kernel itself keeps.
    """
    mark = os.fsencode(f"{variable}={value}")
    found = [pid for pid in _processes() if _is_marked(pid, mark)]
    handles = [handle for pid in found if (handle := _end(pid, mark)) is not None]
    deadline = time.monotonic() + _LAST
    for handle in handles:
        select.select([handle], [], [], max(deadline - time.monotonic(), 0))
        os.close(handle)
    return len(handles)


def _processes() -> list[int]:
    own = os.getpid()
    return [
        int(it.name) for it in os.scandir("/proc") if it.name.isdecimal() and it.name != str(own)
    ]


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _end(pid: int, mark: bytes) -> int | None:
    """Kill it, and give a handle that tells when it is gone."""
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
    path = environment.home / FILE
    while True:
        home.open_home(environment)
        descriptor = _open(path)
        try:
            _wait(descriptor, environment, deadline)
            # Its holder may have removed the home: then nobody else would meet this lock.
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with home.writing(path):
        return os.open(path, flags, home.PRIVATE_FILE)


def _wait(descriptor: int, environment: Environment, deadline: float) -> None:
    while not _locked(descriptor, environment.home / FILE):
        if time.monotonic() >= deadline:
            raise Locked(_problem(environment, _keeper(descriptor)))
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


def _is_at(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = path.lstat()
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _sign(descriptor: int, command: str) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    keeper = Keeper(os.getpid(), _start_of("self") or 0, os.uname().nodename, command, since)
    content = json.dumps(asdict(keeper)).encode()
    # A full disk must not keep anybody from freeing it by `down`: the lock holds all the same.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)


def _keeper(descriptor: int) -> Keeper | None:
    """Who holds it; None when that is not told. What a dead holder left is not believed."""
    deadline = time.monotonic() + _GRACE
    while True:
        keeper = _legible(os.pread(descriptor, _LONGEST, 0))
        if keeper is not None and _lives(keeper):
            return keeper
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE / 10)


def _legible(content: bytes) -> Keeper | None:
    try:
        keeper = Keeper(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(keeper.pid, int) and isinstance(keeper.start, int)
    return keeper if whole and isinstance(keeper.command, str) else None


def _lives(keeper: Keeper) -> bool:
    return keeper.host != os.uname().nodename or _start_of(str(keeper.pid)) == keeper.start


def _start_of(process: str) -> int | None:
    try:
        status = Path("/proc", process, "stat").read_bytes()
        # The name, in parentheses, may hold anything; the start is the 22nd field of all.
        return int(status.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _problem(environment: Environment, keeper: Keeper | None) -> Problem:
    who = str(keeper) if keeper else "another run"
    own = keeper is not None and keeper.host == os.uname().nodename
    stop = f", or stop it with `kill {keeper.pid}`" if keeper and own else ""
    return Problem(
        "locked",
        f"cannot work on {environment.name}: {who} is at work on it",
        f"wait until it has ended{stop}",
    )
