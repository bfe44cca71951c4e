"""The files of a bundle before they are packed: found on disk, read and fingerprinted.

Links are refused, not followed: their target may be missing on another machine, and the digest
would depend on it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from algaenv.bundle import names
from algaenv.bundle.diagnostics import Diagnostic, FileReport, format_diagnostics, printable_path
from algaenv.bundle.layout import DEV_MARKER, DEV_SCRIPT, DEV_SOURCE_MAP
from algaenv.bundle.manifest.model import Manifest
from algaenv.bundle.value import dataclass

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One file: its path in the archive, where it lies, and its size in bytes."""

    path: str
    source: Path
    size: int


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The result of `collect`: entries in the order of their paths, and the parsed manifest."""

    entries: tuple[SourceEntry, ...]
    manifest: Manifest
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)


class SourceError(Exception):
    """The source directory is no valid bundle. `diagnostics` holds all errors and warnings."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(format_diagnostics(diagnostics))
        self.diagnostics = diagnostics


class TreeFingerprint:
    """SHA-256 over path, size and content of each entry, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"algaenv bundle source 1\n")

    def begin(self, entry: SourceEntry) -> None:
        """Start an entry; both lengths are framed, so no two trees hash alike."""
        path = entry.path.encode()
        self._hash.update(b"%d %d\n%b" % (len(path), entry.size, path))

    def update(self, chunk: bytes) -> None:
        """Continue the entry."""
        self._hash.update(chunk)

    def hex(self) -> str:
        """The fingerprint of everything so far."""
        return self._hash.hexdigest()


class EntryReader:
    """Reads an entry and updates the fingerprint. Raises SourceError if the file has changed."""

    def __init__(self, entry: SourceEntry, fingerprint: TreeFingerprint) -> None:
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

    def __enter__(self) -> EntryReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None and self._file.read(1):
                raise self._changed("it is longer")

    def _changed(self, why: str | None) -> SourceError:
        return SourceError(
            Diagnostic(
                "source-changed",
                f"cannot pack {self._entry.path}: it changed while it was read ({why})",
                "let the build finish, then try again",
                printable_path(self._entry.source),
            )
        )


def fingerprint(tree: SourceTree) -> str:
    """Fingerprint a tree without packing it. Raises SourceError if a file changed meanwhile."""
    result = TreeFingerprint()
    for entry in tree.entries:
        with EntryReader(entry, result) as reading:
            while reading.read():
                pass
    return result.hex()


MANIFEST = "manifest.json"
WASM = "dist/main.wasm"
INDEX = "ui/index.html"

_FILES = (MANIFEST, "SIGNATURE", "sbom.spdx.json")
_DIRECTORIES = ("artifacts", "precompiled", "wit")
_BUILT_UI = "dist/ui"
_BUILT_COMPONENT = "dist/component.wasm"


def is_bundle_path(path: str) -> bool:
    """Whether a file at `path`, relative to the source, may become a part of the bundle."""
    directories = (*_DIRECTORIES, "ui", _BUILT_UI)
    return path in (*_FILES, WASM, _BUILT_COMPONENT) or path.startswith(
        tuple(f"{directory}/" for directory in directories)
    )


def gather(source: Path, report: FileReport) -> tuple[SourceEntry, ...]:
    """List what to pack, in the order of the archive's paths.

    The built forms win: `dist/ui` over `ui`, `dist/main.wasm` over `dist/component.wasm`.
    """
    found = _Gatherer(source, report)
    for name in _FILES:
        found.file(name, name)
    for name in _DIRECTORIES:
        found.directory(name, name)
    found.directory("ui", _BUILT_UI if exists(source / "dist" / INDEX) else "ui")
    found.file(WASM, WASM if exists(source / WASM) else _BUILT_COMPONENT)
    if exists(source / DEV_MARKER):
        for name in (DEV_MARKER, DEV_SCRIPT, DEV_SOURCE_MAP):
            found.file(name, name)
    return tuple(sorted(found.entries, key=lambda entry: entry.path))


def exists(path: Path) -> bool:
    """Whether there is anything, be it a link that leads nowhere."""
    return os.path.lexists(path)


class _Gatherer:
    def __init__(self, source: Path, report: FileReport) -> None:
        self.entries: list[SourceEntry] = []
        self._source = source
        self._report = report

    def file(self, archived: str, relative: str) -> None:
        if status := self._look(relative):
            self._add(archived, self._source / relative, status)

    def directory(self, archived: str, relative: str) -> None:
        path = self._source / relative
        status = self._look(relative)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            self._wrong_kind(path, "a directory")
            return
        # Not recursive: a directory can nest deeper than Python does.
        left = [(archived, path)]
        while left:
            below, directory = left.pop()
            for name, child in self._children(directory):
                if names.is_junk(name):
                    self._leave_out(f"{below}/{name}", directory / name)
                    continue
                if not self._is_fit(f"{below}/{name}", directory / name):
                    continue
                if stat.S_ISLNK(child.st_mode):
                    self._link(directory / name)
                elif stat.S_ISDIR(child.st_mode):
                    left.append((f"{below}/{name}", directory / name))
                else:
                    self._add(f"{below}/{name}", directory / name, child)

    def _children(self, directory: Path) -> list[tuple[str, os.stat_result]]:
        try:
            with os.scandir(directory) as children:
                return [(it.name, it.stat(follow_symlinks=False)) for it in children]
        except OSError as error:
            self._report.unreadable(directory, error.strerror or str(error))
            return []

    def _look(self, relative: str) -> os.stat_result | None:
        """Stat a path below the source, unless it is reached through a link."""
        path = self._source
        status: os.stat_result | None = None
        link: Path | None = None
        for part in relative.split("/"):
            path = path / part
            try:
                status = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                self._report.unreadable(path, error.strerror or str(error))
                return None
            if link is None and stat.S_ISLNK(status.st_mode):
                link = path
        if link is not None:
            self._link(link)
            return None
        return status

    def _leave_out(self, archived: str, path: Path) -> None:
        """Say so of a hidden name that an author may have meant to be served."""
        if archived.startswith("ui/") and names.is_hidden(path.name):
            self._report.warn(
                "source-hidden",
                path,
                f"cannot serve {printable_path(archived)}: hidden names are left out of a bundle",
                "rename it without the dot in front, or keep it out of ui/",
            )

    def _is_fit(self, archived: str, path: Path) -> bool:
        problem = names.name_problem(archived)
        if problem is not None:
            name = printable_path(path.name)
            self._report.error(
                "source-name",
                path,
                f"cannot pack {name}: {problem}, and the runner would not serve it",
                "rename it",
            )
        return problem is None

    def _add(self, archived: str, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._wrong_kind(path, "a regular file")
        elif not os.access(path, os.R_OK):
            self._report.unreadable(path, "permission denied")
        else:
            self.entries.append(SourceEntry(archived, path, status.st_size))

    def _wrong_kind(self, path: Path, wanted: str) -> None:
        self._report.error(
            "source-kind",
            path,
            f"cannot pack {printable_path(path.name)}: it is not {wanted}",
            f"replace it by {wanted}, or remove it",
        )

    def _link(self, path: Path) -> None:
        self._report.error(
            "source-link",
            path,
            f"cannot pack {printable_path(path.name)}: it is a symbolic link",
            "copy what it points to into its place",
        )
