"""The private state directory of an environment, `.algaenv/<id>` beside its spec.

It holds what an environment keeps between runs: secrets, ports, and how to find its database when
the spec is gone. It belongs to one user, and nothing in it is reached through a link. The state of
services, objects and rows is never kept here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from algaenv.drivers.state.identity import SAVED_STATE_FILE, move_record, record_move
from algaenv.drivers.state.private_files import (
    make_private_directory,
    read_private,
    remove_if_empty,
    remove_path,
    require_private_directory,
    translate_os_errors,
    write_private,
)
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Problem, left_behind
from algaenv.model.resource import Json
from algaenv.system import locks
from algaenv.system.files import TEMPORARY_SUFFIX, write_once

_IGNORE = ".gitignore"
_LOCK = "lock"
_OWN_ENTRIES = (
    "build",
    "cache",
    "logs",
    SAVED_STATE_FILE,
    "ports.json",
    "secrets.json",
    "settling",
)
"""Entries that `delete` removes."""
RUNTIME_DIRECTORIES = ("data", "etc", "run")
"""What the runtimes keep and remove themselves; `delete` takes only what is empty of files."""
_TEMPORARY_NAME = re.compile(rf"\..+\.{TEMPORARY_SUFFIX}")
_CACHE_TEMPORARY_PREFIX = ".spec-"
_STALE_SECONDS = 60.0
"""Seconds after which no run still writes a temporary file of the cache."""


def delete_copy(directory: Path) -> None:
    """Delete a whole state directory: a copy that nothing was started from. Raises Failed."""
    with translate_os_errors(directory):
        remove_path(directory)
        _remove_empty_root(directory.parent)


def open_state_dir(environment: Environment) -> Path:
    """Create the state directory unless it exists; returns its path.

    Raises Refused (`home-unsafe`) when it is a link, no directory, or another user's, and Failed
    (`home-unwritable`, `disk-full`, `home-broken`) when it cannot be made.
    """
    shared = environment.home.parent
    with translate_os_errors(shared):
        make_private_directory(shared)
        write_once(shared / _IGNORE, b"*\n")
        make_private_directory(environment.home)
    return environment.home


def save(environment: Environment, record: Mapping[str, Json]) -> None:
    """Save `record`; writes only when it has changed. Raises as `open_state_dir` does."""
    write_private(
        open_state_dir(environment) / SAVED_STATE_FILE, json.dumps(record).encode() + b"\n"
    )
    record_move(environment)


def load(environment: Environment) -> dict[str, Json] | None:
    """The saved state; None without one, or when it cannot be read.

    Raises Refused (`home-unsafe`) rather than believe what another user may have written.
    """
    try:
        require_private_directory(environment.home.parent)
        require_private_directory(environment.home)
        loaded = json.loads(read_private(environment.home / SAVED_STATE_FILE))
    except (OSError, ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def delete(environment: Environment) -> tuple[str, ...]:
    """Delete our entries of the state directory, and each directory that this leaves empty.

    Never follows a link and never leaves the directory. Returns the names that stay, because
    another program made them or a runtime still needs them. Raises as `open_state_dir` does, and
    Failed (`left-behind`) with all entries of ours that could not be removed.
    """
    directory = environment.home
    if not os.path.lexists(directory):
        return ()
    with translate_os_errors(directory):
        require_private_directory(directory.parent)
        require_private_directory(directory)
        for name in RUNTIME_DIRECTORIES:
            _remove_empty_tree(directory / name)
        problems: list[Problem] = []
        for path in (*(directory / name for name in _OWN_ENTRIES), *_temporary_files(directory)):
            try:
                remove_path(path)
            except OSError as error:
                problems.append(left_behind(path, error))
        if problems:
            raise Failed(*problems)
        left = tuple(sorted({entry.name for entry in directory.iterdir()} - {_LOCK}))
        if not left:
            with contextlib.suppress(OSError, RuntimeError):
                move_record(environment.id).unlink(missing_ok=True)
            # Last, since the caller holds the lock; a directory that stays keeps it.
            remove_path(directory / _LOCK)
            remove_if_empty(directory)
            _remove_empty_root(directory.parent)
    return left


def remove_leftover_files(environment: Environment) -> None:
    """Remove the files that a run which was killed was writing: they may hold secrets.

    The caller holds the environment. Raises as `open_state_dir` does, and Failed (`left-behind`).
    """
    cache = environment.home / "cache"
    old = time.time() - _STALE_SECONDS
    stale = [
        path
        for path in _paths_with_prefix(cache, _CACHE_TEMPORARY_PREFIX)
        if _modified_at(path) < old
    ]
    aside = _temporary_files(environment.home)
    if not stale and not aside:
        return
    problems: list[Problem] = []
    # A `plan` holds this while it writes such a file.
    with settings_lock(environment):
        for path in (*stale, *aside):
            try:
                remove_path(path)
            except OSError as error:
                problems.append(left_behind(path, error))
    if problems:
        raise Failed(*problems)


def _temporary_files(directory: Path) -> list[Path]:
    """Files that `write_private` was writing when it was killed."""
    return [
        path for path in _paths_with_prefix(directory, ".") if _TEMPORARY_NAME.fullmatch(path.name)
    ]


def _paths_with_prefix(directory: Path, prefix: str) -> list[Path]:
    try:
        names = os.listdir(directory)  # noqa: PTH208 - in every run
    except OSError:
        return []
    return sorted(directory / name for name in names if name.startswith(prefix))


def _modified_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


@contextlib.contextmanager
def settings_lock(environment: Environment) -> Iterator[Path]:
    """Lock ports and secrets while they are chosen: two runs that find them missing must agree.

    Held for moments, unlike the environment's own lock, which a `plan` does not take. Yields the
    state directory. Raises as `open_state_dir` does.
    """
    path = open_state_dir(environment) / "settling"
    with contextlib.ExitStack() as held:
        with translate_os_errors(path):
            held.enter_context(locks.file_lock(path))
        yield environment.home


def _remove_empty_tree(path: Path) -> None:
    """Remove a directory that holds no file, only directories like itself."""
    if path.is_symlink():
        return
    for directory, _, _ in os.walk(path, topdown=False):
        remove_if_empty(Path(directory))


def _remove_empty_root(shared: Path) -> None:
    """Remove the directory of all homes beside a spec, once it holds none."""
    if {entry.name for entry in shared.iterdir()} <= {_IGNORE}:
        (shared / _IGNORE).unlink(missing_ok=True)
        remove_if_empty(shared)
