"""The files of one environment on disk, and helpers to write them privately."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Failed, Problem


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
