"""The identity of an environment: its id follows the real path of the spec, or a moved checkout."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Final

from algaenv.drivers.state.private_files import PRIVATE_DIRECTORY, write_private
from algaenv.model.lock import Environment, OrphanedState

STATE_ROOT: Final = ".algaenv"
SAVED_STATE_FILE: Final = "last.json"
"""The state that the last `up` saved."""
_ID = re.compile(r"[0-9a-f]{10}")
_SALT = "2"
"""Makes the id of a path whose first id went with a checkout that was moved."""
_STATE_ENTRIES = ("secrets.json", "data", "run")
"""Entries that make a directory more than logs and caches."""


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
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "algaenv" / "moved" / identity


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
