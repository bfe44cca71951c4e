"""What the disk says no to, in the words of this program."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from algaenv.model.problem import Failed, Problem

_HINTS = {
    errno.ENOSPC: "free some space on this disk",
    errno.EDQUOT: "free some space: this user's share of the disk is used up",
    errno.EACCES: "see who owns it, and whether another user ran this before",
    errno.EPERM: "see who owns it, and whether another user ran this before",
    errno.EROFS: "the disk is mounted read-only: move the spec to another one",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turns an OSError inside into Failed (`disk-failed`, `disk-full`) about `path`, or what it
    names itself."""
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
