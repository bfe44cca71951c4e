"""The contents of all watched files, as digests: tells a change from a mere save."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Final

Stamp = tuple[int, int, int, int]

_CHUNK: Final = 1 << 20
_UNREADABLE: Final = b""
"""Stands for the content of a file that cannot be read."""


class ContentIndex:
    """Files below some directories, with their digests.

    `counts` decides over files, `enters` over directories: what is below one that is not entered is
    never looked at. Links to files are followed, links to directories are not.
    """

    def __init__(self, counts: Callable[[str], bool], enters: Callable[[str], bool]) -> None:
        self._counts = counts
        self._enters = enters
        self._files: dict[str, tuple[Stamp, bytes]] = {}
        self.directories: set[str] = set()
        """The directories that were found; each has to be watched by itself."""
        self.links: dict[str, set[str]] = {}
        """The real path of a file → the links that lead to it."""

    def update(self, paths: Iterable[str]) -> set[str]:
        """Look at these paths again, directories with all below; returns the changed files.

        A file counts as changed when it appears, vanishes, or has another content.
        """
        changed: set[str] = set()
        for path in paths:
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
                changed |= self._update_directory(path)
            elif os.path.lexists(path):
                if self._counts(path) and self._is_changed(path):
                    changed.add(path)
            else:
                changed |= self._forget(path)
        return changed

    def knows(self, path: str) -> bool:
        """Whether it is a file that counts and is there."""
        return path in self._files

    def _update_directory(self, directory: str) -> set[str]:
        found: set[str] = set()
        directories: set[str] = set()
        for path, is_directory in self._walk(directory):
            (directories if is_directory else found).add(path)
        below = directory.rstrip("/") + "/"
        gone = {it for it in self._files if it.startswith(below)} - found
        self.directories = {it for it in self.directories if not it.startswith(below)} | directories
        for path in gone:
            del self._files[path]
        return gone | {path for path in found if self._is_changed(path)}

    def _forget(self, path: str) -> set[str]:
        """A path that is gone, file or directory."""
        below = path.rstrip("/") + "/"
        gone = {it for it in self._files if it == path or it.startswith(below)}
        for it in gone:
            del self._files[it]
        self.directories = {
            it for it in self.directories if it != path and not it.startswith(below)
        }
        return gone

    def _walk(self, directory: str) -> Iterator[tuple[str, bool]]:
        if not self._enters(directory):
            return
        yield directory, True
        try:
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda it: it.name)
        except OSError:
            return
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
            elif not os.path.isdir(entry.path) and self._counts(entry.path):  # noqa: PTH112
                yield entry.path, False

    def _is_changed(self, path: str) -> bool:
        """Compares the content where the stamp is another one, and notes both."""
        known = self._files.get(path)
        if os.path.islink(path):  # noqa: PTH114
            self.links.setdefault(os.path.realpath(path), set()).add(path)
        try:
            status = os.stat(path)  # noqa: PTH116 - of every file of a large tree
        except OSError:
            return self._files.pop(path, None) is not None
        if stat.S_ISDIR(status.st_mode):
            return self._files.pop(path, None) is not None
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if known is not None and known[0] == stamp:
            return False
        content = _digest(path)
        self._files[path] = (stamp, content)
        return known is None or known[1] != content


def _digest(path: str) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - a pipe would block
            return _UNREADABLE
        with open(path, "rb") as file:  # noqa: PTH123
            while chunk := file.read(_CHUNK):
                state.update(chunk)
    except OSError:
        return _UNREADABLE
    return state.digest()
