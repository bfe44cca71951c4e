"""The private state directory of an environment, `.algaenv/<id>` beside its spec.

It holds what an environment keeps between runs: secrets, ports, and how to find its database when
the spec is gone. It belongs to one user, and nothing in it is reached through a link. The state of
services, objects and rows is never kept here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.model.lock import Environment, OrphanedState
from algaenv.model.problem import Failed, Problem, Refused
from algaenv.model.resource import Json

STATE_ROOT: Final = ".algaenv"
PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600

_IGNORE = ".gitignore"
SAVED_STATE_FILE: Final = "last.json"
"""The state that the last `up` saved."""
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
_ID = re.compile(r"[0-9a-f]{10}")
_SALT = "2"
"""Makes the id of a path whose first id went with a checkout that was moved."""
_STATE_ENTRIES = ("secrets.json", "data", "run")
"""Entries that make a directory more than logs and caches."""
_TEMPORARY_NAME = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")
"""Names of the files that `write_atomic` writes aside."""
_CACHE_TEMPORARY_PREFIX = ".spec-"
_STALE_SECONDS = 60.0
"""Seconds after which no run still writes a temporary file of the cache."""
_DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)


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


def _move_record(identity: str) -> Path:
    """Where the new spec of a moved environment is noted: outside of every checkout."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "algaenv" / "moved" / identity


def _was_moved_away(identity: str, real: Path) -> bool:
    """Whether a checkout that was once at `real` still has that id at another place."""
    try:
        spec = Path(os.fsdecode(_move_record(identity).read_bytes()))
    except (OSError, RuntimeError, ValueError):
        return False
    return spec != real and _is_file(spec.parent / STATE_ROOT / identity / SAVED_STATE_FILE)


def record_move(environment: Environment) -> None:
    """Note where a moved environment is, and forget it once it is back. Costs nothing but a name:
    without the note only a new checkout at the old path is taken for the moved one."""
    note = _move_record(environment.id)
    with contextlib.suppress(OSError, RuntimeError):
        if environment.id == _id_of(environment.spec):
            note.unlink(missing_ok=True)
        elif environment.id != _id_of(environment.spec, _SALT):
            note.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            write_atomic(note, os.fsencode(environment.spec))


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


def left_beside(environment: Environment) -> tuple[OrphanedState, ...]:
    """State directories beside an environment's own that no spec here uses. Touches nothing."""
    found = []
    for directory, spec in _specs_by_state_dir(environment.home.parent).items():
        here = spec.parent == environment.spec.parent
        exists = spec.exists()
        if directory == environment.home or (here and exists):
            continue
        other = Environment(directory.name, spec.parent.name, spec, directory)
        found.append(OrphanedState(other, _size(directory), copied=exists, here=here))
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


def _size(directory: Path) -> int:
    """Bytes on disk of everything in a directory, as far as it can be read."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_blocks * 512
    return total


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
        _make_private_directory(shared)
        _write_once(shared / _IGNORE, b"*\n")
        _make_private_directory(environment.home)
    return environment.home


def save(environment: Environment, record: Mapping[str, Json]) -> None:
    """Save `record`; writes only when it has changed. Raises as `open_state_dir` does."""
    write_atomic(
        open_state_dir(environment) / SAVED_STATE_FILE, json.dumps(record).encode() + b"\n"
    )
    record_move(environment)


def load(environment: Environment) -> dict[str, Json] | None:
    """The saved state; None without one, or when it cannot be read.

    Raises Refused (`home-unsafe`) rather than believe what another user may have written.
    """
    try:
        _require_private_directory(environment.home.parent)
        _require_private_directory(environment.home)
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
        _require_private_directory(directory.parent)
        _require_private_directory(directory)
        for name in RUNTIME_DIRECTORIES:
            _remove_empty_tree(directory / name)
        problems: list[Problem] = []
        for path in (*(directory / name for name in _OWN_ENTRIES), *_temporary_files(directory)):
            try:
                remove_path(path)
            except OSError as error:
                problems.append(_left_behind(path, error))
        if problems:
            raise Failed(*problems)
        left = tuple(sorted({entry.name for entry in directory.iterdir()} - {_LOCK}))
        if not left:
            with contextlib.suppress(OSError, RuntimeError):
                _move_record(environment.id).unlink(missing_ok=True)
            # Last, since the caller holds the lock; a directory that stays keeps it.
            remove_path(directory / _LOCK)
            _rmdir(directory)
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
                problems.append(_left_behind(path, error))
    if problems:
        raise Failed(*problems)


def _temporary_files(directory: Path) -> list[Path]:
    """Files that `write_atomic` was writing when it was killed."""
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


def _left_behind(path: Path, error: OSError) -> Problem:
    # What lies within a tree is known to the system by its last name only.
    name = str(error.filename or path)
    place = name if name.startswith("/") else f"{name} in {path}"
    return Problem(
        "left-behind",
        f"cannot remove {place}: {error.strerror or error}",
        "let the current user remove it, then run `algaenv down` again",
    )


def write_atomic(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, 0600, wholly or not at all, and through a power failure.

    Nothing is written when it holds it already. Raises Failed.
    """
    with contextlib.suppress(OSError):
        if read_private(path) == content:
            return
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with translate_os_errors(path):
        try:
            _write(fresh, content)
            fresh.replace(path)
            _fsync_directory(path.parent)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def read_private(path: Path) -> bytes:
    """The bytes of a file, which is closed to others meanwhile. Raises OSError, for a link too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, PRIVATE_FILE)
        return stream.read()


@contextlib.contextmanager
def settings_lock(environment: Environment) -> Iterator[Path]:
    """Lock ports and secrets while they are chosen: two runs that find them missing must agree.

    Held for moments, unlike the environment's own lock, which a `plan` does not take. Yields the
    state directory. Raises as `open_state_dir` does.
    """
    import fcntl

    path = open_state_dir(environment) / "settling"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with translate_os_errors(path):
        descriptor = os.open(path, flags, PRIVATE_FILE)
    try:
        with translate_os_errors(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield environment.home
    finally:
        os.close(descriptor)


def remove_path(path: Path) -> None:
    """Remove a file, a link or a directory with all it holds; absent is done. Raises OSError.

    Links are removed, never followed. Directories that a build made read-only are opened first.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(status.st_mode):
        path.unlink(missing_ok=True)
        return
    import shutil

    try:
        shutil.rmtree(path)
    except PermissionError:
        _make_writable(path)
        shutil.rmtree(path)


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a Failed with a hint for the author."""
    try:
        yield
    except OSError as error:
        raise Failed(_os_problem(path, error)) from error


def _os_problem(path: Path, error: OSError) -> Problem:
    reason = error.strerror or str(error)
    if error.errno in _DISK_FULL_ERRORS:
        return Problem(
            "disk-full",
            f"cannot write {path}: {reason}",
            "make room on that file system, then run it again",
        )
    if error.errno == errno.EROFS:
        return Problem(
            "home-unwritable",
            f"cannot write {path}: the file system is read-only",
            "move the spec to a directory that can be written; state is kept beside it",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Problem(
            "home-unwritable",
            f"cannot write {path}: {reason}",
            f"let the current user write to {path.parent}",
        )
    return Problem("home-broken", f"cannot use {path}: {reason}", f"look at what is at {path}")


def _make_private_directory(path: Path) -> None:
    """A directory of ours at `path`, 0700, made if need be."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=PRIVATE_DIRECTORY)
    _require_private_directory(path)


def _require_private_directory(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            what = "a link" if path.is_symlink() else "not a directory"
            raise Refused(_unsafe_problem(path, f"it is {what}", "remove it")) from error
        if error.errno == errno.EACCES and (owner := path.lstat().st_uid) != os.geteuid():
            raise Refused(_foreign_owner_problem(path, owner)) from error
        raise
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise Refused(_foreign_owner_problem(path, status.st_uid))
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(descriptor, PRIVATE_DIRECTORY)
    finally:
        os.close(descriptor)


def _foreign_owner_problem(path: Path, owner: int) -> Problem:
    return _unsafe_problem(
        path,
        f"it belongs to user {owner}, and this is user {os.geteuid()}",
        f"run algaenv as user {owner}, or remove the directory",
    )


def _unsafe_problem(path: Path, why: str, hint: str) -> Problem:
    return Problem("home-unsafe", f"cannot keep secrets in {path}: {why}", hint)


def _write_once(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileExistsError):
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, PRIVATE_FILE), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _fsync_directory(directory: Path) -> None:
    """Make a renaming last: without it, a power failure may take back what was promised."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty_tree(path: Path) -> None:
    """Remove a directory that holds no file, only directories like itself."""
    if path.is_symlink():
        return
    for directory, _, _ in os.walk(path, topdown=False):
        _rmdir(Path(directory))


def _remove_empty_root(shared: Path) -> None:
    """Remove the directory of all homes beside a spec, once it holds none."""
    if {entry.name for entry in shared.iterdir()} <= {_IGNORE}:
        (shared / _IGNORE).unlink(missing_ok=True)
        _rmdir(shared)


def _rmdir(path: Path) -> None:
    # Not empty, or a link, or already gone: all of them are fine.
    with contextlib.suppress(OSError):
        path.rmdir()


def _make_writable(path: Path) -> None:
    """Let the owner list and empty every directory below `path`."""
    path.chmod(PRIVATE_DIRECTORY)
    for directory, names, _ in os.walk(path):
        for below in (Path(directory, name) for name in names):
            if not below.is_symlink():
                below.chmod(PRIVATE_DIRECTORY)
