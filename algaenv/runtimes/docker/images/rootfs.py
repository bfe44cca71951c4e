"""A root file system in memory, written as a reproducible tar file, and its ELF files.

Names are sorted, times left out and owners numeric: two builds of the same content differ only in
the engine's own time stamp.

Shared libraries are found with `ldd`. One of the system keeps its path. One from elsewhere (beside
a wheel's program, under an interpreter's prefix) is placed beside the C library, where every
program finds it. Interpreters and wheels that were compiled on a developer's machine carry several
times their size in symbols, which `strip` removes; where it is missing, the image is just larger.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Failed, Problem

_LINE: Final = re.compile(r"^\s*(?:(\S+) => )?(/\S+|not found)(?: \(0x[0-9a-f]+\))?$")
_SYSTEM: Final = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
# The C library loads these by name at the first host lookup.
_BY_NAME: Final = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
_ELF: Final = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class ImageDirectory:
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


Entry = ImageDirectory | File | Link


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
            self._entries.setdefault(str(parent), ImageDirectory())

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
        case ImageDirectory(mode, owner):
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


def shared_libraries(files: Iterable[Path], own: Sequence[Path] = ()) -> Mapping[str, Path]:
    """Path in the image → file here, of all libraries that `files` need, directly or not.

    Files other than ELF objects need none. Libraries below a directory of `own` are left out: they
    are copied with it. Raises Failed (`recipe-broken`) for one that cannot be found.
    """
    objects = [str(file) for file in files if _is_elf(file)]
    found = _ldd(objects) if objects else {}
    home = next(
        (Path(path).parent for path in found.values() if Path(path).name == "libc.so.6"), None
    )
    placed: dict[str, Path] = {}
    for path in found.values():
        real = Path(path).resolve()
        if any(real.is_relative_to(folder) for folder in own):
            continue
        system = os.path.normpath(path).startswith(_SYSTEM)
        place = os.path.normpath(path) if system or home is None else str(home / Path(path).name)
        placed[place] = real
    if home is not None:
        named = [home / name for name in _BY_NAME]
        placed |= {str(path): path.resolve() for path in named if path.exists()}
    return placed


def _ldd(objects: list[str]) -> dict[str, str]:
    """Name → path, of all that `ldd` reports; virtual libraries have no path."""
    try:
        reply = subprocess.run(
            ["ldd", *objects],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,  # Away from a Ctrl-C that is meant for us.
        )
    except OSError as error:
        raise _broken("cannot ask `ldd` for the libraries of a program", str(error)) from error
    found: dict[str, str] = {}
    for line in reply.stdout.splitlines():
        match = _LINE.match(line)
        if match and not line.endswith(":"):
            name, path = match[1] or match[2], match[2]
            if path == "not found":
                raise _broken(f"cannot find the library {name}, which a program needs", objects[0])
            found[name] = path
    return found


def _is_elf(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_ELF)) == _ELF


def _broken(summary: str, why: str) -> Failed:
    hint = "set `images: pull`, or `runtime: process`, in the spec"
    return Failed(Problem("recipe-broken", summary, hint, detail=(why,)))


_MIN_STRIP_BYTES: Final = 1 << 17
"""Bytes; stripping smaller files is not worth the time."""


def strip_debug_symbols(root: Rootfs) -> None:
    """Replace the large libraries in `root` by ones without debugging symbols."""
    program = shutil.which("strip")
    if program is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        for place, source in root.large_files(_MIN_STRIP_BYTES):
            stripped = _stripped(program, source, Path(scratch, "stripped"))
            if stripped is not None and len(stripped) < source.stat().st_size:
                root.put(place, File(stripped, 0o755))


def _stripped(program: str, source: Path, target: Path) -> bytes | None:
    command = [program, "--strip-debug", "-o", str(target), str(source)]
    # Away from a Ctrl-C that is meant for us: steps under way end.
    done = subprocess.run(command, check=False, capture_output=True, start_new_session=True)
    return target.read_bytes() if done.returncode == 0 else None
