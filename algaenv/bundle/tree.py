"""The files that make a bundle, before they are packed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from algaenv.bundle.complaint import Complaint, listing
from algaenv.bundle.filefindings import shown
from algaenv.bundle.manifest import Manifest
from algaenv.bundle.value import dataclass

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its path in the archive, where it lies, and its size in bytes."""

    path: str
    source: Path
    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """What `collect` found: entries in the order of their paths, and the manifest among them."""

    entries: tuple[Entry, ...]
    manifest: Manifest
    warnings: tuple[Complaint, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)


class SourceError(Exception):
    """The source makes no bundle. `complaints` holds all errors and warnings."""

    def __init__(self, *complaints: Complaint) -> None:
        super().__init__(listing(complaints))
        self.complaints = complaints


class Fingerprint:
    """SHA-256 over path, size and content of each entry, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"algaenv bundle source 1\n")

    def begin(self, entry: Entry) -> None:
        """Start an entry; both lengths are framed, so no two trees hash alike."""
        path = entry.path.encode()
        self._hash.update(b"%d %d\n%b" % (len(path), entry.size, path))

    def update(self, chunk: bytes) -> None:
        """Continue the entry."""
        self._hash.update(chunk)

    def hex(self) -> str:
        """The fingerprint of everything so far."""
        return self._hash.hexdigest()


class Reading:
    """Reads an entry and takes its fingerprint; raises SourceError if it is not what it was."""

    def __init__(self, entry: Entry, fingerprint: Fingerprint) -> None:
        self._entry = entry
        self._fingerprint = fingerprint
        self._left = entry.size
        try:
            # A link put there since the entry was collected must not lead anywhere.
            descriptor = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise self._changed(error.strerror) from error
        self._file = os.fdopen(descriptor, "rb")
        fingerprint.begin(entry)

    def read(self, size: int = CHUNK, /) -> bytes:
        """Read `size` bytes, or what is left if that is less."""
        try:
            content = self._file.read(min(size, self._left))
        except OSError as error:
            raise self._changed(error.strerror) from error
        self._left -= len(content)
        if self._left and len(content) < size:
            raise self._changed("it is shorter")
        self._fingerprint.update(content)
        return content

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None and self._file.read(1):
                raise self._changed("it is longer")

    def _changed(self, why: str | None) -> SourceError:
        return SourceError(
            Complaint(
                "source-changed",
                f"cannot pack {self._entry.path}: it changed while it was read ({why})",
                "let the build finish, then try again",
                shown(self._entry.source),
            )
        )


def fingerprint(tree: Tree) -> str:
    """Tell trees apart without packing them. Raises SourceError if a file changed meanwhile."""
    result = Fingerprint()
    for entry in tree.entries:
        with Reading(entry, result) as reading:
            while reading.read():
                pass
    return result.hex()
