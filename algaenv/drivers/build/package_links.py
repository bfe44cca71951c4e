"""Installed packages of the author in the mirror: a directory of links, one for each package.

A link to `node_modules` as a whole would lead an installer that empties it to the author's files.
What it empties here are links. Packages of the workspace itself are those of the mirror.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.drivers.build.file_tree import DEPENDENCIES
from algaenv.drivers.state import private_files

_PROGRAMS: Final = ".bin"
_UNSHARED: Final = frozenset({".cache", ".pnpm", ".vite", ".vite-temp"})
"""Directories beside the packages that tools write to; the mirror has its own, or none."""


def package_links(source: Path, workspace: Path, tree: Path) -> dict[str, str | None]:
    """Path below a `node_modules` → what it leads to in the mirror `tree`; None for a directory.

    Files that begin with a dot are records of an installer, and are left out: it would write
    through a link to one. Empty when `source` is not there any more. Raises OSError.
    """
    try:
        return dict(_links(Path(os.path.realpath(source)), "", str(workspace), tree))
    except FileNotFoundError:
        return {}


def _links(
    source: Path, below: str, workspace: str, tree: Path
) -> Iterator[tuple[str, str | None]]:
    with os.scandir(source / below) as found:
        entries = sorted(found, key=lambda it: it.name)
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        hidden = entry.name.startswith(".")
        if entry.is_symlink():
            yield path, _target(entry, workspace, tree, is_program=below == _PROGRAMS)
        elif not entry.is_dir():
            if not hidden:
                yield path, entry.path
        elif not below and (entry.name == _PROGRAMS or entry.name.startswith("@")):
            yield path, None
            yield from _links(source, path, workspace, tree)
        elif entry.name not in _UNSHARED:
            yield path, entry.path


def _target(link: os.DirEntry[str], workspace: str, tree: Path, *, is_program: bool) -> str:
    text = os.readlink(link.path)  # noqa: PTH115 - hundreds of links
    if is_program and not os.path.isabs(text):  # noqa: PTH117
        return text
    real = os.path.realpath(link.path)
    inside = real.removeprefix(f"{workspace}/")
    if inside == real or DEPENDENCIES in inside.split("/"):
        return link.path
    return str(tree / inside)


def bring_packages(target: Path, links: Mapping[str, str | None]) -> None:
    """Make `target` a directory of these links; of what a build put there, caches stay.

    Raises OSError.
    """
    directories = ["", *(path for path, text in links.items() if text is None)]
    for directory in directories:
        path = target / directory
        if path.is_symlink() or not path.is_dir():
            private_files.remove_path(path)
            path.mkdir(mode=private_files.PRIVATE_DIRECTORY)
        with os.scandir(path) as found:
            for entry in found:
                name = f"{directory}/{entry.name}" if directory else entry.name
                if name not in links and (entry.is_symlink() or not entry.name.startswith(".")):
                    private_files.remove_path(Path(entry.path))
    for name, text in links.items():
        path = target / name
        if text is not None and not (path.is_symlink() and str(path.readlink()) == text):
            private_files.remove_path(path)
            path.symlink_to(text)
