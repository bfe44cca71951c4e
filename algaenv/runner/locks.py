"""Locks between processes, threads and tasks.

A lock on a file belongs to the open file and vanishes with its process, however that ends. Bundles
share 256 lock files, so these need no cleaning up: two bundles rarely wait for each other, and no
process waits while it holds another lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from algaenv.bundle.digest import Digest
from algaenv.system.locks import try_lock

_FIRST_PAUSE = 0.005
_MAX_PAUSE = 0.1


def bundle_lock_path(folder: Path, digest: Digest) -> Path:
    """The file that stands for a bundle."""
    return folder / f"{digest.hex[:2]}.lock"


@contextmanager
def try_file_lock(file: Path) -> Iterator[bool]:
    """Hold the lock if it is free; yields whether it is held. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def file_lock(file: Path) -> AsyncIterator[None]:
    """Hold the lock, asking again until it is free. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    pause = _FIRST_PAUSE
    try:
        while not try_lock(descriptor):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)
        yield
    finally:
        os.close(descriptor)


_FLOCK = struct.Struct("hhqqi4x")
_BYTES = 7
"""Of the name: the first give a place that a file can have."""


class KeyLocks:
    """The names this process has locked through one file. The methods raise OSError."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def acquire(self, name: bytes) -> bool:
        """Lock a name unless another process has; must not be locked by us already."""
        try:
            self._set(name, fcntl.F_WRLCK)
        except BlockingIOError:
            return False
        return True

    def release(self, name: bytes) -> None:
        """Unlock a name."""
        self._set(name, fcntl.F_UNLCK)

    def close(self) -> None:
        """Unlock all names."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _set(self, name: bytes, kind: int) -> None:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._file, flags, 0o600)
        place = int.from_bytes(name[:_BYTES])
        # The lock is of the open file, not of the process: others may open it and close it.
        fcntl.fcntl(
            self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)
        )


_imports = threading.Lock()


@contextmanager
def import_lock() -> Iterator[None]:
    """Import within this, when other threads may do so as well. Blocks; never on the loop."""
    with _imports:
        yield


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Work under way, by key. A result is shared with its waiters and then forgotten.

    So is a failure: the next call starts anew. The work continues when a waiter is cancelled.
    """

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def join(self, key: K, start: Callable[[], Coroutine[object, object, V]]) -> V:
        """Wait for the work under way for `key`, which `start` begins when there is none."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(start())
            self._tasks[key] = task
            task.add_done_callback(lambda task_done: self._finish(key, task_done))
        return await asyncio.shield(task)

    def _finish(self, key: K, task_done: asyncio.Task[V]) -> None:
        del self._tasks[key]
        if not task_done.cancelled():
            # Looked at here, since all who waited may have left.
            task_done.exception()
