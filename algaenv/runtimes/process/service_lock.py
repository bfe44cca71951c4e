"""The lock of a service: held by its supervisor for life, and by a driver that changes its files.

It is a kernel lock, so it also shows processes of another PID namespace, such as a container that
shares the checkout. Files of a service may be changed only under its lock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from algaenv.model.address import Address
from algaenv.model.problem import Conflict, Problem
from algaenv.runtimes.process.layout import private_directory
from algaenv.system import locks

RELEASE_SECONDS: Final = 10.0
"""Seconds that a supervisor which was just ended may need to release the lock."""
_PAUSE = 0.01


@contextlib.contextmanager
def hold(path: Path, address: Address, seconds: float = RELEASE_SECONDS) -> Iterator[int]:
    """Hold the lock at `path`, made if need be; yields its descriptor.

    A process that inherits the descriptor keeps the lock. Raises Conflict (`shim-busy`) when it is
    still held elsewhere after `seconds`, and OSError.
    """
    descriptor = locks.acquire(
        path,
        time.monotonic() + seconds,
        _PAUSE,
        prepare=lambda: private_directory(path.parent),
        busy=lambda _: busy_error(address),
    )
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
