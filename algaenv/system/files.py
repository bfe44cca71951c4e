"""Files written in one step: a reader sees the old content or the new, also after a kill."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from io import BufferedRandom
from typing import Final

PRIVATE: Final = 0o600
TEMPORARY_SUFFIX: Final = r"\d+\.[0-9a-f]{8}"
"""A pattern: what follows the prefix in the name of a temporary file."""


def write_atomic(
    path: str | os.PathLike[str],
    content: bytes,
    *,
    mode: int = PRIVATE,
    fsync: bool = False,
    prefix: str = "",
) -> None:
    """Make `path` hold `content`, wholly or not at all. Arguments and errors as of `replacing`."""
    with replacing(path, mode=mode, fsync=fsync, prefix=prefix) as stream:
        stream.write(content)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], *, mode: int = PRIVATE, fsync: bool = False, prefix: str = ""
) -> Iterator[BufferedRandom]:
    """A temporary file beside `path`, which takes its place at the end of a `with`.

    After an exception `path` is as it was. With `fsync` the new content also outlasts a power
    failure. The temporary file is named `.<name of path>.<suffix>`, or `<prefix><suffix>`: a
    killed process leaves it. Raises OSError.
    """
    directory, name = os.path.split(os.fspath(path))
    suffix = f"{os.getpid()}.{os.urandom(4).hex()}"
    fresh = os.path.join(directory, f"{prefix or f'.{name}.'}{suffix}")  # noqa: PTH118
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(fresh, flags, mode), "w+b") as stream:
            yield stream
            stream.flush()
            if mode != PRIVATE:
                os.fchmod(stream.fileno(), mode)  # Whatever the umask is.
            if fsync:
                os.fsync(stream.fileno())
        os.replace(fresh, path)  # noqa: PTH105
        if fsync:
            _fsync_directory(directory or ".")
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)  # noqa: PTH108
        raise


def write_once(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `path`, 0600, unless it exists. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileExistsError), os.fdopen(os.open(path, flags, PRIVATE), "wb") as it:
        it.write(content)
        it.flush()
        os.fsync(it.fileno())


def _fsync_directory(directory: str) -> None:
    """Make a renaming last: without it, a power failure may take back what was promised."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def memory_file(name: str) -> int:
    """A descriptor of an open file that has no place; the name is for people. Raises OSError."""
    if sys.platform == "linux":
        return os.memfd_create(name)
    else:
        import tempfile

        with tempfile.TemporaryFile(prefix=name) as file:
            return os.dup(file.fileno())
