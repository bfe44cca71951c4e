"""The private state directory of an environment, `.algaenv/<id>` beside its spec.

It holds what an environment keeps between runs: secrets, ports, and how to find its database when
the spec is gone. It belongs to one user, and nothing in it is reached through a link. The state of
services, objects and rows is never kept here, but for the names and fingerprints of what the last
`up` left: only `drift` reads them, and no plan depends on them.

The id of an environment follows the real path of its spec, or a moved checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.drivers.state import registry
from algaenv.drivers.state.private_files import (
    PRIVATE_DIRECTORY,
    make_private_directory,
    read_private,
    remove_if_empty,
    remove_path,
    require_private_directory,
    translate_os_errors,
    write_private,
)
from algaenv.model import isolated
from algaenv.model.lock import Environment, OrphanedState
from algaenv.model.problem import Failed, Problem, left_behind
from algaenv.model.resource import Json
from algaenv.system import locks
from algaenv.system.files import TEMPORARY_SUFFIX, write_once
from algaenv.system.lifetime import LOCK, RECORD

STATE_ROOT: Final = isolated.STATE_ROOT
SAVED_STATE_FILE: Final = "last.json"
"""The state that the last `up` saved."""
_IGNORE = ".gitignore"
_LOCK_FILE = "lock"
_OWN_ENTRIES = (
    "build",
    "cache",
    RECORD,
    LOCK,
    "logs",
    SAVED_STATE_FILE,
    "ports.json",
    "restoring",
    "secrets.json",
    "settling",
    "support",
    "tasks",
)
"""Entries that `delete` removes."""
RUNTIME_DIRECTORIES = ("data", "etc", "run")
"""What the runtimes keep and remove themselves; `delete` takes only what is empty of files."""
_TEMPORARY_NAME = re.compile(rf"\..+\.{TEMPORARY_SUFFIX}")
_CACHE_TEMPORARY_PREFIX = ".spec-"
_STALE_SECONDS = 60.0
"""Seconds after which no run still writes a temporary file of the cache."""
_ID = re.compile(r"[0-9a-f]{10}")
_SALT = "2"
"""Makes the id of a path whose first id went with a checkout that was moved."""
_STATE_ENTRIES = ("secrets.json", "data", "run")
"""Entries that make a directory more than logs and caches."""


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
        if isolated.isolated_name(environment.spec) is not None:
            _make_isolated(environment.spec)
        make_private_directory(shared)
        write_once(shared / _IGNORE, b"*\n")
        make_private_directory(environment.home)
    return environment.home


def _make_isolated(spec: Path) -> None:
    """The directories and the file of an isolated environment; raises OSError, Refused."""
    root = spec.parents[2]
    make_private_directory(root)
    write_once(root / _IGNORE, b"*\n")
    make_private_directory(spec.parents[1])
    make_private_directory(spec.parent)
    write_once(
        spec, b"# Stands for ../../../%s, which is read in its place.\n" % os.fsencode(spec.name)
    )


def _remove_isolated(spec: Path) -> None:
    """Remove the file of an isolated environment, and the directories that this leaves empty."""
    spec.unlink(missing_ok=True)
    remove_if_empty(spec.parent)
    remove_if_empty(spec.parents[1])
    with contextlib.suppress(FileNotFoundError):
        _remove_empty_root(spec.parents[2])


def save(environment: Environment, record: Mapping[str, Json]) -> None:
    """Save `record`; writes only when it has changed. Raises as `open_state_dir` does."""
    write_private(
        open_state_dir(environment) / SAVED_STATE_FILE, json.dumps(record).encode() + b"\n"
    )
    record_move(environment)
    registry.note(environment)


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
        left = tuple(sorted({entry.name for entry in directory.iterdir()} - {_LOCK_FILE}))
        if not left:
            with contextlib.suppress(OSError, RuntimeError):
                move_record(environment.id).unlink(missing_ok=True)
                registry.forget(environment)
            # Last, since the caller holds the lock; a directory that stays keeps it.
            remove_path(directory / _LOCK_FILE)
            remove_if_empty(directory)
            _remove_empty_root(directory.parent)
            if isolated.isolated_name(environment.spec) is not None:
                _remove_isolated(environment.spec)
    return left


def remove_leftover_files(environment: Environment) -> None:
    """Remove the files that a run which was killed was writing: they may hold secrets.

    The caller holds the environment. Raises as `open_state_dir` does, and Failed (`left-behind`).
    """
    if not leftover_files(environment):
        return
    problems: list[Problem] = []
    # A `plan` holds this while it writes such a file.
    with settings_lock(environment):
        for path in leftover_files(environment):
            try:
                remove_path(path)
            except OSError as error:
                problems.append(left_behind(path, error))
    if problems:
        raise Failed(*problems)


def leftover_files(environment: Environment) -> tuple[Path, ...]:
    """The files that a run which was killed was writing. Touches nothing."""
    old = time.time() - _STALE_SECONDS
    cache = _paths_with_prefix(environment.home / "cache", _CACHE_TEMPORARY_PREFIX)
    stale = [path for path in cache if _modified_at(path) < old]
    return (*stale, *_temporary_files(environment.home))


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


def identify(spec: Path, name: str) -> Environment:
    """The environment of a spec, which need not exist. Touches nothing.

    The id follows the real path, so that a link to a spec means the same environment. A checkout
    that was moved takes its state directory with it: that one is found and keeps its id, which
    labels containers, volumes and rows. A new checkout at the old path then gets another id.
    """
    real = Path(os.path.realpath(spec))
    shared = real.parent / STATE_ROOT
    own = shared / _id_of(real)
    directory = own if _is_file(own / SAVED_STATE_FILE) else _find_moved(real, own)
    if directory == own and not os.path.lexists(own) and _was_moved_away(own.name, real):
        directory = shared / _id_of(real, _SALT)
    return Environment(directory.name, name, real, directory)


def _id_of(real: Path, salt: str = "") -> str:
    return hashlib.sha256(os.fsencode(real) + salt.encode()).hexdigest()[:10]


def move_record(identity: str) -> Path:
    """Where the new spec of a moved environment is noted: outside of every checkout."""
    return registry.user_state() / "moved" / identity


def _was_moved_away(identity: str, real: Path) -> bool:
    """Whether a checkout that was once at `real` still has that id at another place."""
    try:
        spec = Path(os.fsdecode(move_record(identity).read_bytes()))
    except (OSError, RuntimeError, ValueError):
        return False
    return spec != real and _is_file(spec.parent / STATE_ROOT / identity / SAVED_STATE_FILE)


def record_move(environment: Environment) -> None:
    """Note where a moved environment is, and forget it once it is back. Costs nothing but a name:
    without the note only a new checkout at the old path is taken for the moved one."""
    note = move_record(environment.id)
    with contextlib.suppress(OSError, RuntimeError):
        if environment.id == _id_of(environment.spec):
            note.unlink(missing_ok=True)
        elif environment.id != _id_of(environment.spec, _SALT):
            note.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            write_private(note, os.fsencode(environment.spec))


def _find_moved(real: Path, own: Path) -> Path:
    """The state directory whose saved state names this spec, or moved with it; else `own`."""
    specs = _specs_by_state_dir(own.parent)
    for directory, spec in specs.items():
        if spec == real:
            return directory
    if any(os.path.lexists(own / name) for name in _STATE_ENTRIES):
        return own
    moved = [
        directory
        for directory, spec in specs.items()
        if spec.name == real.name and spec.parent != real.parent and not spec.exists()
    ]
    return moved[0] if len(moved) == 1 else own


def find_orphaned_states(environment: Environment) -> tuple[OrphanedState, ...]:
    """State directories beside an environment's own that no spec here uses. Touches nothing."""
    found = []
    for directory, spec in _specs_by_state_dir(environment.home.parent).items():
        here = spec.parent == environment.spec.parent
        exists = spec.exists()
        if directory == environment.home or (here and exists):
            continue
        other = Environment(directory.name, spec.parent.name, spec, directory)
        found.append(OrphanedState(other, directory_size(directory), copied=exists, here=here))
    return tuple(found)


def _specs_by_state_dir(shared: Path) -> dict[Path, Path]:
    """State directory below `shared` → the spec that its saved state names."""
    try:
        names = sorted(os.listdir(shared))  # noqa: PTH208 - in every run that begins something
    except OSError:
        return {}
    found: dict[Path, Path] = {}
    for name in names:
        spec = _saved_spec_path(shared / name) if _ID.fullmatch(name) else None
        if spec is not None:
            found[shared / name] = spec
    return found


def _saved_spec_path(directory: Path) -> Path | None:
    """The spec in its saved state; None without one, or when another user wrote it."""
    try:
        descriptor = os.open(
            directory / SAVED_STATE_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        with os.fdopen(descriptor, "rb") as stream:
            if directory.is_symlink() or os.fstat(descriptor).st_uid != os.geteuid():
                return None
            spec = json.loads(stream.read())["spec"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Path(spec) if isinstance(spec, str) and os.path.isabs(spec) else None  # noqa: PTH117


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - never raises, and is asked in every run


def directory_size(directory: Path) -> int:
    """Bytes on disk of everything in a directory, as far as it can be read."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_blocks * 512
    return total
