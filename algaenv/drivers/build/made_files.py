"""Files that the steps of a build made: found in the tree, compared, and kept by their content."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from algaenv.drivers.build import file_tree
from algaenv.drivers.build.file_tree import DEPENDENCIES, TreeEntry
from algaenv.drivers.build.patterns import Glob
from algaenv.drivers.build.workspace import MadeFile, StepResult
from algaenv.drivers.state import private_files


def entries_of(tree: Path, glob: Glob) -> Iterator[TreeEntry]:
    """Entries of the tree that a glob names, also in directories that a walk leaves out."""
    parts = glob.text.split("/")
    fixed = [*parts[: next((i for i, it in enumerate(parts) if not Glob(it).is_plain), None)]]
    start = "/".join(fixed)
    full = str(tree / start)
    try:
        status = os.lstat(full)
        if start and os.path.realpath(os.path.dirname(full)) != os.path.dirname(full):  # noqa: PTH120
            return  # A link leads out of the tree.
        if not stat.S_ISDIR(status.st_mode):
            kind = "link" if stat.S_ISLNK(status.st_mode) else "file"
            if glob.matches(start):
                yield TreeEntry(start, full, kind, status)  # type: ignore[arg-type]
        elif fixed[-1:] == [DEPENDENCIES]:
            yield TreeEntry(start, full, "dependencies", status)
        else:
            for found in file_tree.walk(full):
                path = f"{start}/{found.path}" if start else found.path
                if glob.matches(path):
                    yield TreeEntry(path, found.full, found.kind, found.status)
    except OSError:
        return


def made_file(tree: Path, path: str, known: MadeFile | None) -> MadeFile | None:
    """What lies at a path of the tree now; read only when its stamp is not the known one."""
    full = tree / path
    try:
        status = full.lstat()
        if stat.S_ISLNK(status.st_mode):
            return MadeFile("link", 0, str(full.readlink()), file_tree.UNRELIABLE_STAMP)
        if stat.S_ISDIR(status.st_mode):
            dependencies = MadeFile("dependencies", 0, "", file_tree.UNRELIABLE_STAMP)
            return dependencies if file_tree.is_dependencies(str(full)) else None
        stamp, mode = file_tree.stamp_of(status), stat.S_IMODE(status.st_mode)
        if known is not None and known.stamp == stamp:
            return MadeFile("file", mode, known.sha256, stamp)
        sha = file_tree.sha256_of(full)
    except OSError:
        return None
    reliable = file_tree.is_stamp_reliable(stamp, time.time_ns())
    return MadeFile("file", mode, sha, stamp if reliable else file_tree.UNRELIABLE_STAMP)


def is_same(one: MadeFile, other: MadeFile) -> bool:
    """Whether two have the same kind, mode and content."""
    return (one.kind, one.mode, one.sha256) == (other.kind, other.mode, other.sha256)


class KeptFiles:
    """The content of outputs, each under its SHA-256."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def holds(self, made: dict[str, MadeFile]) -> bool:
        """Whether all of these can be put back."""
        return all(
            it.kind == "link" or (it.kind == "file" and (self._directory / it.sha256).is_file())
            for it in made.values()
        )

    def add(self, tree: Path, made: dict[str, MadeFile]) -> None:
        """Keep these files of a tree. Raises Failed."""
        with private_files.translate_os_errors(self._directory):
            self._directory.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
            for path, it in made.items():
                kept = self._directory / it.sha256
                if it.kind == "file" and not kept.is_file():
                    fresh = self._directory / ".fresh"
                    file_tree.copy_file(tree / path, fresh)
                    fresh.replace(kept)

    def put(self, tree: Path, path: str, made: MadeFile) -> bool:
        """Make `path` what it was; False when what is kept is not that."""
        target = tree / path
        with private_files.translate_os_errors(target):
            _make_real_parents(target, tree)
            private_files.remove_path(target)
            if made.kind == "link":
                target.symlink_to(made.sha256)
                return True
            file_tree.copy_file(self._directory / made.sha256, target)
            target.chmod(made.mode)
            if file_tree.sha256_of(target) == made.sha256:
                return True
            target.unlink()
            (self._directory / made.sha256).unlink()
        return False

    def prune(self, results: Iterable[StepResult]) -> None:
        """Keep only what one of these results made."""
        wanted = {it.sha256 for result in results for it in result.made.values()}
        with contextlib.suppress(FileNotFoundError):
            for kept in self._directory.iterdir():
                if kept.name not in wanted:
                    private_files.remove_path(kept)


def _make_real_parents(target: Path, tree: Path) -> None:
    """Directories from the tree to the target; links in the way are removed, not followed."""
    path = tree
    for name in target.relative_to(tree).parts[:-1]:
        path = path / name
        if path.is_symlink() or not path.is_dir():
            private_files.remove_path(path)
            path.mkdir(mode=private_files.PRIVATE_DIRECTORY)
