"""Locks on files, by the kernel: held until the open file is closed, however its process ends.

So a lock file that was left behind blocks nothing. A process that inherits the descriptor keeps the
lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

PRIVATE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class LockUnsupported(OSError):
    """The file system has no locks."""


def try_lock(descriptor: int) -> bool:
    """Lock an open file unless another process has; whether it is locked now.

    Raises LockUnsupported.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise LockUnsupported(error.errno, error.strerror) from error
    return True


def wait_lock(descriptor: int) -> None:
    """Lock an open file, blocking until it is free. Raises OSError."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def open_locked(path: str | os.PathLike[str], flags: int = _FLAGS) -> int | None:
    """A descriptor that holds the lock of a file; None when another process has it.

    Raises OSError.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, PRIVATE)
    try:
        if try_lock(descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a file, made 0600 if need be; blocks until it is free. Raises OSError."""
    descriptor = os.open(path, _FLAGS, PRIVATE)
    try:
        wait_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether another process holds the lock of a file, which is not made. Raises OSError."""
    try:
        descriptor = open_locked(path, _FLAGS & ~os.O_CREAT)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def acquire(
    path: str | os.PathLike[str],
    deadline: float,
    pause: float,
    *,
    prepare: Callable[[], object],
    busy: Callable[[int], Exception],
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """A descriptor that holds the lock of a file, made 0600 if need be; asks every `pause` seconds.

    `deadline` is a moment of time.monotonic. `prepare` makes the directory of the file, which the
    last holder may have removed. Raises what `busy` returns for the open file when another process
    still has the lock by then, or once `cancelled` returns True, and OSError.
    """
    while True:
        prepare()
        descriptor = os.open(path, _FLAGS, PRIVATE)
        try:
            while not try_lock(descriptor):
                if time.monotonic() >= deadline or cancelled():
                    raise busy(descriptor)
                time.sleep(pause)
            # Its last holder may have removed the file: then no other process would see this lock.
            if _is_same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same_file(descriptor: int, path: str | os.PathLike[str]) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = os.lstat(path)
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
