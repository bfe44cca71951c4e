"""The lock of a service: held by its supervisor for life, and by a driver that changes its files.

It is a kernel lock, so it also shows processes of another PID namespace, such as a container that
shares the checkout. Files of a service may be changed only under its lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from algaenv.model.address import Address
from algaenv.model.problem import Conflict, Problem
from algaenv.runtimes.process.layout import private_directory

RELEASE_SECONDS: Final = 10.0
"""Seconds that a supervisor which was just ended may need to release the lock."""
_PAUSE = 0.01
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


def is_held(path: Path) -> bool:
    """Whether the lock at `path` is held; the file is not created. Raises OSError."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold(path: Path, address: Address, seconds: float = RELEASE_SECONDS) -> Iterator[int]:
    """Hold the lock at `path`, made if need be; yields its descriptor.

    A process that inherits the descriptor keeps the lock. Raises Conflict (`shim-busy`) when it is
    still held elsewhere after `seconds`, and OSError.
    """
    descriptor = _acquire(path, address, time.monotonic() + seconds)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def busy_error(address: Address) -> Conflict:
    """The error for a service whose lock is held elsewhere."""
    return Conflict(
        Problem(
            "shim-busy",
            f"cannot touch {address}: it is held by a shim that cannot be seen from here",
            "run the command where the service was started: the host, or the container that "
            "shares this directory",
        )
    )


def _acquire(path: Path, address: Address, deadline: float) -> int:
    private_directory(path.parent)
    while True:
        descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o600)
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise busy_error(address)
                time.sleep(_PAUSE)
            # Its last holder may have removed the file: then no other process would see this lock.
            if _is_same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
