"""A root file system in memory, written as a reproducible tar file.

Names are sorted, times left out and owners numeric: two builds of the same content differ only in
the engine's own time stamp.
"""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from algaenv.bundle.value import dataclass


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; parents that are not added belong to root, mode 0755."""

    mode: int = 0o755
    owner: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A file with the bytes of `source`, or of the file that `source` names; root's."""

    source: Path | bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


Entry = Directory | File | Link


class Rootfs:
    """Absolute path → entry."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def put(self, path: str, entry: Entry) -> None:
        """Add or replace what is at `path`, an absolute path without `..`."""
        clean = PurePosixPath(path)
        if not clean.is_absolute() or ".." in clean.parts:
            raise ValueError(f"not a place in a root tree: {path}")
        self._entries[str(clean)] = entry
        for parent in clean.parents:
            self._entries.setdefault(str(parent), Directory())

    def copy(self, path: str, source: Path) -> None:
        """Put the file `source` at `path`, executable if it is."""
        executable = bool(source.stat().st_mode & stat.S_IXUSR)
        self.put(path, File(source, 0o755 if executable else 0o644))

    def files(self) -> list[Path]:
        """The files of this machine that go in."""
        entries = self._entries.values()
        return [e.source for e in entries if isinstance(e, File) and isinstance(e.source, Path)]

    def large_files(self, least: int) -> list[tuple[str, Path]]:
        """Path in the image and file here, of those that have at least `least` bytes."""
        return [
            (path, entry.source)
            for path, entry in self._entries.items()
            if isinstance(entry, File)
            and isinstance(entry.source, Path)
            and entry.source.stat().st_size >= least
        ]

    def write(self, stream: IO[bytes]) -> None:
        """Write it as a tar file."""
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in sorted(self._entries):
                if path != "/":
                    _add(archive, path.lstrip("/"), self._entries[path])


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    header = tarfile.TarInfo(name)
    match entry:
        case Directory(mode, owner):
            header.type, header.mode = tarfile.DIRTYPE, mode
            header.uid = header.gid = owner
            archive.addfile(header)
        case Link(target):
            header.type, header.linkname, header.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(header)
        case File(bytes() as content, mode):
            header.size, header.mode = len(content), mode
            archive.addfile(header, io.BytesIO(content))
        case File(Path() as source, mode):
            with source.open("rb") as content_stream:
                header.size, header.mode = source.stat().st_size, mode
                archive.addfile(header, content_stream)
