"""Directory trees: a walk that does not enter dependencies, and stamps of files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

from algaenv.bundle.value import dataclass

Stamp = tuple[int, int, int, int]
"""Size, mtime and ctime in nanoseconds, inode: a file whose stamp is the same is the same."""
STAMP_RESOLUTION_NS: Final = 2_000_000_000
"""Nanoseconds after which a stamp is reliable: a file may change twice within one tick of its
clock, and the coarsest file systems tick every two seconds."""
UNRELIABLE_STAMP: Final[Stamp] = (0, 0, 0, 0)
EXCLUDED_NAMES: Final = frozenset({".git", ".hg", ".svn", ".jj", ".algaenv", "__pycache__"})
"""Names that are no part of a workspace."""
DEPENDENCIES: Final = "node_modules"
"""The name of a directory of installed packages."""
_FICLONE = 0x40049409
"""Of linux/fs.h: shares the storage of one file with another until either is written."""
_COPY_BYTES = 1 << 20
_CACHE_MARK = "CACHEDIR.TAG"
_VIRTUAL_ENVIRONMENT_MARK = "pyvenv.cfg"


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file: equal stamps mean an unchanged file."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_stamp_reliable(stamp: Stamp, now: int) -> bool:
    """Whether a change after `now`, when the file was looked at, is sure to give a new stamp."""
    return max(stamp[1], stamp[2]) < now - STAMP_RESOLUTION_NS


def sha256_of(path: str | Path) -> str:
    """Lower hex over a file that is no link. Raises OSError."""
    with open(path, "rb", opener=open_no_follow) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_no_follow(path: str, flags: int) -> int:
    """An opener that follows no link."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """Something below a root; `path` is relative to it, `full` is not."""

    path: str
    full: str
    kind: Literal["file", "directory", "link", "dependencies"]
    status: os.stat_result


def walk(root: str) -> Iterator[TreeEntry]:
    """Everything below `root` that is part of a workspace, directories before what they hold.

    Installed dependencies are named, not entered; caches that say so are left out, and what
    vanishes meanwhile. Links are not followed. Raises OSError.
    """
    left = [("", root, os.lstat(root))]
    while left:
        below, directory, status = left.pop()
        try:
            with os.scandir(directory) as found:
                children = sorted(found, key=lambda child: child.name)
        except FileNotFoundError:
            if below:
                continue
            raise
        names = {child.name for child in children}
        if below and _CACHE_MARK in names and _VIRTUAL_ENVIRONMENT_MARK not in names:
            continue
        if below and (
            below.rpartition("/")[2] == DEPENDENCIES or _VIRTUAL_ENVIRONMENT_MARK in names
        ):
            yield TreeEntry(below, directory, "dependencies", status)
            continue
        if below:
            yield TreeEntry(below, directory, "directory", status)
        for child in children:
            path = f"{below}/{child.name}" if below else child.name
            if child.name in EXCLUDED_NAMES:
                continue
            try:
                about = child.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(about.st_mode):
                left.append((path, child.path, about))
            elif stat.S_ISLNK(about.st_mode):
                yield TreeEntry(path, child.path, "link", about)
            elif stat.S_ISREG(about.st_mode):
                yield TreeEntry(path, child.path, "file", about)


def is_in_cache(path: str, root: str) -> bool:
    """Whether a directory above `path`, relative to `root`, says that it is a cache or a virtual
    environment."""
    directory = root
    for name in path.split("/")[:-1]:
        directory = f"{directory}/{name}"
        for mark in (_CACHE_MARK, _VIRTUAL_ENVIRONMENT_MARK):
            if os.path.lexists(f"{directory}/{mark}"):
                return True
    return False


def is_dependencies(directory: str) -> bool:
    """Whether a directory holds installed packages."""
    name = directory.rpartition("/")[2]
    return name == DEPENDENCIES or os.path.lexists(f"{directory}/{_VIRTUAL_ENVIRONMENT_MARK}")


def copy_file(source: Path, target: Path) -> None:
    """A copy with storage of its own, or storage that is shared until either is written.

    Follows no link at `source`; `target` is made or emptied. Raises OSError.
    """
    with open(source, "rb", opener=open_no_follow) as original, target.open("wb") as copy:
        copy_content(original, copy)


def copy_content(source: BinaryIO, target: BinaryIO) -> None:
    """The same for open files, `target` being empty. Raises OSError."""
    import fcntl
    import shutil

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:  # Another file system than btrfs, XFS and such.
        shutil.copyfileobj(source, target, _COPY_BYTES)


def tree_digest(tree: Path) -> str:
    """Changes with whatever touches the tree; empty when there is none."""
    digest = hashlib.sha256()
    try:
        for found in walk(str(tree)):
            stamp = stamp_of(found.status) if found.kind == "file" else ()
            digest.update(repr((found.path, found.kind, stamp)).encode())
    except OSError:
        return ""
    return digest.hexdigest()
