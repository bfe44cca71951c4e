"""A note of each environment that was brought up, for `ps` and `down --all`.

It lies outside of every checkout, one file an environment. It is no state: what an environment is,
its own directory says, and a note that leads nowhere is removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from algaenv.model.lock import Environment


def user_state() -> Path:
    """`$XDG_STATE_HOME/algaenv`, or what stands for it; raises RuntimeError without a home."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "algaenv"


def note(environment: Environment) -> None:
    """Note an environment; what cannot be written costs only its line in `ps`."""
    content = os.fsencode(environment.spec)
    with contextlib.suppress(OSError, RuntimeError):
        path = _directory() / environment.id
        if path.is_file() and path.read_bytes() == content:
            return
        from algaenv.system.files import write_atomic

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, content)


def forget(environment: Environment) -> None:
    """Remove the note of an environment."""
    with contextlib.suppress(OSError, RuntimeError):
        (_directory() / environment.id).unlink(missing_ok=True)


def noted() -> Iterator[Environment]:
    """The environments that are noted and have a state directory, without their names."""
    try:
        paths = sorted(_directory().iterdir())
    except (OSError, RuntimeError):
        return
    for path in paths:
        try:
            spec = Path(os.fsdecode(path.read_bytes()))
        except OSError:
            continue
        home = spec.parent / ".algaenv" / path.name
        if not spec.is_absolute() or "." in path.name:
            continue
        if home.is_dir():
            yield Environment(path.name, spec.parent.name, spec, home)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _directory() -> Path:
    return user_state() / "environments"
