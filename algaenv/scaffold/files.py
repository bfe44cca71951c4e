"""Writes new directories and files wholly or not at all, and nothing over what is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.system.files import write_atomic

_READABLE = 0o644


def write_directory(target: Path, files: Mapping[str, bytes]) -> None:
    """Make `target`, which must be absent or an empty directory, hold `files`.

    Raises Conflict (`scaffold-exists`) and Failed (`scaffold-unwritable`); then nothing is left.
    """
    refuse_existing(target)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        fresh.replace(target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def refuse_existing(target: Path) -> None:
    """Raises Conflict (`scaffold-exists`) unless `target` is absent or an empty directory."""
    try:
        empty = target.is_dir() and not target.is_symlink() and not any(target.iterdir())
    except OSError as error:
        raise unwritable(target, error) from error
    if empty or not os.path.lexists(target):
        return
    what = "it is there already" if target.is_dir() else "a file of that name is there"
    raise Conflict(
        Problem(
            "scaffold-exists",
            f"cannot write {target}: {what}",
            "choose another name, or move it away",
        )
    )


def write_file(path: Path, content: bytes) -> None:
    """Write a file for its author and others to read; a link is followed. Raises Failed."""
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else _READABLE
        write_atomic(target, content, mode=mode)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> Failed:
    """The error of a file that cannot be written."""
    return Failed(
        Problem(
            "scaffold-unwritable",
            f"cannot write {path}: {error.strerror or error}",
            "let the current user write there",
        )
    )
