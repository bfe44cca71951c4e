"""The directory in which the worker processes of one service keep their figures.

Every worker writes into files that carry its number, so that one started in the place of a dead
one goes on counting where that had stopped, and the directory does not grow with restarts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PRIVATE = 0o700


class Ledger:
    """A directory that lives as long as the service. Made by the process that starts workers.

    Workers inherit the lock that keeps others from clearing it away; it is gone when all are.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def make(cls, cache_root: Path) -> Ledger:
        """Make one below the root of the cache, and remove those of services that are no more.

        Raises OSError.
        """
        own = cache_root / ".algaenv"
        folder = own / "metrics"
        for place in (own, folder):
            place.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        with _alone(folder):
            for old in folder.iterdir():
                if old.is_dir():
                    _remove_if_left(old)
            path = Path(tempfile.mkdtemp(dir=folder))
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return cls(path, descriptor)

    def worker_died(self, worker: int) -> None:
        """Take a worker out of the figures that say how things are; what it counted stays."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker, str(self.path))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the directory, after the last worker."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def _remove_if_left(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
