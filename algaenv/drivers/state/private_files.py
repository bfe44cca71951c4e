"""Files that only their owner may read: written atomically, read without following links.

Errors of the file system become problems with a hint for the author.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from algaenv.model.problem import Failed, Problem, Refused
from algaenv.system import files

PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600
_DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def write_private(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, 0600, wholly or not at all, and through a power failure.

    Nothing is written when it holds it already. Raises Failed.
    """
    with contextlib.suppress(OSError):
        if read_private(path) == content:
            return
    with translate_os_errors(path):
        files.write_atomic(path, content, fsync=True)


def read_private(path: Path) -> bytes:
    """The bytes of a file, which is closed to others meanwhile. Raises OSError, for a link too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, PRIVATE_FILE)
        return stream.read()


def remove_path(path: Path) -> None:
    """Remove a file, a link or a directory with all it holds; absent is done. Raises OSError.

    Links are removed, never followed. Directories that a build made read-only are opened first.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(status.st_mode):
        path.unlink(missing_ok=True)
        return
    import shutil

    try:
        shutil.rmtree(path)
    except PermissionError:
        _make_writable(path)
        shutil.rmtree(path)


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a Failed with a hint for the author."""
    try:
        yield
    except OSError as error:
        raise Failed(_os_problem(path, error)) from error


def _os_problem(path: Path, error: OSError) -> Problem:
    reason = error.strerror or str(error)
    if error.errno in _DISK_FULL_ERRORS:
        return Problem(
            "disk-full",
            f"cannot write {path}: {reason}",
            "make room on that file system, then run it again",
        )
    if error.errno == errno.EROFS:
        return Problem(
            "home-unwritable",
            f"cannot write {path}: the file system is read-only",
            "move the spec to a directory that can be written; state is kept beside it",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Problem(
            "home-unwritable",
            f"cannot write {path}: {reason}",
            f"let the current user write to {path.parent}",
        )
    return Problem("home-broken", f"cannot use {path}: {reason}", f"look at what is at {path}")


def make_private_directory(path: Path) -> None:
    """A directory of ours at `path`, 0700, made if need be."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=PRIVATE_DIRECTORY)
    require_private_directory(path)


def require_private_directory(path: Path) -> None:
    """Refuse a directory that is a link or belongs to another user; close it to others.

    Raises Refused (`home-unsafe`), and OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            what = "a link" if path.is_symlink() else "not a directory"
            raise Refused(_unsafe_problem(path, f"it is {what}", "remove it")) from error
        if error.errno == errno.EACCES and (owner := path.lstat().st_uid) != os.geteuid():
            raise Refused(_foreign_owner_problem(path, owner)) from error
        raise
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise Refused(_foreign_owner_problem(path, status.st_uid))
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(descriptor, PRIVATE_DIRECTORY)
    finally:
        os.close(descriptor)


def _foreign_owner_problem(path: Path, owner: int) -> Problem:
    return _unsafe_problem(
        path,
        f"it belongs to user {owner}, and this is user {os.geteuid()}",
        f"run algaenv as user {owner}, or remove the directory",
    )


def _unsafe_problem(path: Path, why: str, hint: str) -> Problem:
    return Problem("home-unsafe", f"cannot keep secrets in {path}: {why}", hint)


def remove_if_empty(path: Path) -> None:
    """Remove an empty directory; leaves any other as it is."""
    # Not empty, or a link, or already gone: all of them are fine.
    with contextlib.suppress(OSError):
        path.rmdir()


def _make_writable(path: Path) -> None:
    """Let the owner list and empty every directory below `path`."""
    path.chmod(PRIVATE_DIRECTORY)
    for directory, names, _ in os.walk(path):
        for below in (Path(directory, name) for name in names):
            if not below.is_symlink():
                below.chmod(PRIVATE_DIRECTORY)
