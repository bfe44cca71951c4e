"""Locks that hold between processes which share one cache directory.

A lock belongs to the open file and vanishes with its process, however that ends. Bundles share
256 lock files, so that these need no clearing away: two bundles rarely wait for each other, and
nobody ever waits while holding another lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from algaenv.bundle.digest import Digest

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1


def lock_file(folder: Path, digest: Digest) -> Path:
    """The file that stands for a bundle."""
    return folder / f"{digest.hex[:2]}.lock"


@contextmanager
def try_hold(file: Path) -> Iterator[bool]:
    """Hold the lock if nobody else does; yields whether it is held. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _taken(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def hold(file: Path) -> AsyncIterator[None]:
    """Hold the lock, asking again until it is free. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    pause = _FIRST_PAUSE
    try:
        while not _taken(descriptor):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
