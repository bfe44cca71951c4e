"""The files of one environment on disk, and the lock of each service.

The lock is held by the supervisor of a service for life, and by a driver that changes its files. It
is a kernel lock, so it also shows processes of another PID namespace, such as a container that
shares the checkout. Files of a service may be changed only under its lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.system import locks

TEMPORARY_PREFIX: Final = ".algaenv-"
"""Prefix of directories that are being created or removed; no folder has such a name."""
RELEASE_SECONDS: Final = 10.0
"""Seconds that a supervisor which was just ended may need to release the lock."""
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below an environment's state directory."""

    home: Path

    @property
    def data(self) -> Path:
        """The folders that hold what services store."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """The records."""
        return self.home / "run"

    def record(self, service: str) -> Path:
        """The record of a service."""
        return self.run / f"{service}.json"

    def lock(self, service: str) -> Path:
        """The lock that the supervisor of a service holds for life."""
        return self.run / f"{service}.json.lock"

    def log(self, service: str) -> Path:
        """The log of a service."""
        return self.home / "logs" / f"{service}.log"

    @property
    def etc_all(self) -> Path:
        """The generated files of all services."""
        return self.home / "etc"

    def etc(self, service: str) -> Path:
        """The generated files of a service."""
        return self.etc_all / service

    def folder(self, name: str) -> Path:
        """A folder, by its name: `<service>-<engine>`."""
        return self.data / name


def content(folder: Path) -> Path:
    """The part of a folder that belongs to the service; our marker lies beside it."""
    return folder / "content"


def data_version(folder: Path) -> str:
    """The major version of PostgreSQL that made the data in `folder`; empty when there is none."""
    try:
        return (content(folder) / "PG_VERSION").read_text().strip()
    except OSError:
        return ""


def chown_tree(place: Path, user: int) -> None:
    """Make `user` the owner of everything in `place`, if it exists."""
    if not place.exists() or place.stat().st_uid == user:
        return
    for directory, _, names in os.walk(place, topdown=False):
        for name in (*names, "."):
            os.chown(Path(directory, name), user, user, follow_symlinks=False)


def private_directory(directory: Path) -> Path:
    """`directory`, made with its parents, for this user only."""
    if not directory.is_dir():
        # mkdir would make the parents with the usual permissions.
        private_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
    return directory


_HINTS = {
    errno.ENOSPC: "free some space on this disk",
    errno.EDQUOT: "free some space: this user's share of the disk is used up",
    errno.EACCES: "see who owns it, and whether another user ran this before",
    errno.EPERM: "see who owns it, and whether another user ran this before",
    errno.EROFS: "the disk is mounted read-only: move the spec to another one",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into Failed (`disk-failed`, `disk-full`) about its file, else `path`."""
    try:
        yield
    except OSError as error:
        raise Failed(
            Problem(
                "disk-full" if error.errno in _FULL else "disk-failed",
                f"cannot work with {error.filename or path}: {error.strerror or error}",
                _HINTS.get(error.errno or 0, "see what is there, and run this again"),
            )
        ) from error


@contextlib.contextmanager
def service_lock(path: Path, address: Address, seconds: float = RELEASE_SECONDS) -> Iterator[int]:
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
