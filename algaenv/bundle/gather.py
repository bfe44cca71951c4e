"""Finds the files of a bundle on disk, following nothing that leads out of the source.

A link is refused rather than followed: what it points to is not in the author's repository, or
not in everybody's, and the digest would depend on it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from algaenv.bundle import names
from algaenv.bundle.filefindings import FileFindings, shown
from algaenv.bundle.tree import Entry

MANIFEST = "manifest.json"
WASM = "dist/main.wasm"
INDEX = "ui/index.html"

_FILES = (MANIFEST, "SIGNATURE", "sbom.spdx.json")
_DIRECTORIES = ("artifacts", "precompiled", "wit")


def gather(source: Path, findings: FileFindings) -> tuple[Entry, ...]:
    """List what to pack, in the order of the archive's paths.

    The built forms win: `dist/ui` over `ui`, `dist/main.wasm` over `dist/component.wasm`.
    """
    found = _Gathering(source, findings)
    for name in _FILES:
        found.file(name, name)
    for name in _DIRECTORIES:
        found.directory(name, name)
    found.directory("ui", "dist/ui" if exists(source / "dist" / INDEX) else "ui")
    found.file(WASM, WASM if exists(source / WASM) else "dist/component.wasm")
    return tuple(sorted(found.entries, key=lambda entry: entry.path))


def exists(path: Path) -> bool:
    """Whether there is anything, be it a link that leads nowhere."""
    return os.path.lexists(path)


class _Gathering:
    def __init__(self, source: Path, findings: FileFindings) -> None:
        self.entries: list[Entry] = []
        self._source = source
        self._findings = findings

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
            self._findings.unreadable(directory, error.strerror or str(error))
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
                self._findings.unreadable(path, error.strerror or str(error))
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
            self._findings.warn(
                "source-hidden",
                path,
                f"cannot serve {shown(archived)}: hidden names are left out of a bundle",
                "rename it without the dot in front, or keep it out of ui/",
            )

    def _is_fit(self, archived: str, path: Path) -> bool:
        why = names.fault(archived)
        if why is not None:
            self._findings.error(
                "source-name",
                path,
                f"cannot pack {shown(path.name)}: {why}, and the runner would not serve it",
                "rename it",
            )
        return why is None

    def _add(self, archived: str, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._wrong_kind(path, "a regular file")
        elif not os.access(path, os.R_OK):
            self._findings.unreadable(path, "permission denied")
        else:
            self.entries.append(Entry(archived, path, status.st_size))

    def _wrong_kind(self, path: Path, wanted: str) -> None:
        self._findings.error(
            "source-kind",
            path,
            f"cannot pack {shown(path.name)}: it is not {wanted}",
            f"replace it by {wanted}, or remove it",
        )

    def _link(self, path: Path) -> None:
        self._findings.error(
            "source-link",
            path,
            f"cannot pack {shown(path.name)}: it is a symbolic link",
            "copy what it points to into its place",
        )
