"""Renews how long an environment is to live, and starts the process that watches it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping

from algaenv.drivers.state.private_files import write_private
from algaenv.model.lock import Environment, LifetimeChange
from algaenv.model.problem import Failed, Problem
from algaenv.system import lifetime, lifetime_watcher, locks
from algaenv.system.lifetime import Lifetime, read_lifetime

_START_SECONDS = 10.0


def renew(
    environment: Environment, change: LifetimeChange | None, environ: Mapping[str, str]
) -> None:
    """Count the time of the environment from now on; without a record and a change: nothing.

    The caller holds the environment. Raises Failed (`lifetime-unwatched` when no process can be
    started that watches it, and as `write_private`).
    """
    before = read_lifetime(environment.home)
    if before is None and change is None:
        return
    now = _renewed(before or Lifetime(), change)
    if now.ttl is None and not now.owner:
        forget(environment)
        return
    content = json.dumps({"version": 1, **now._asdict()}).encode() + b"\n"
    write_private(environment.home / lifetime.RECORD, content)
    _ensure_watched(environment, environ)


def forget(environment: Environment) -> None:
    """It has no end any more; the process that watches it ends by itself."""
    with contextlib.suppress(OSError):
        (environment.home / lifetime.RECORD).unlink(missing_ok=True)


def _renewed(before: Lifetime, change: LifetimeChange | None) -> Lifetime:
    ttl, owner, pid, volumes = before.ttl, before.owner, before.owner_pid, before.volumes
    if change is not None:
        ttl = ttl if change.ttl is None else change.ttl or None
        volumes = change.volumes
        if change.owner is not None:
            owner, pid = change.owner, change.owner_pid
    return Lifetime(ttl, None if ttl is None else time.time() + ttl, owner, pid, volumes)


def _ensure_watched(environment: Environment, environ: Mapping[str, str]) -> None:
    """Return once a process watches the record."""
    try:
        if locks.is_locked(environment.home / lifetime.LOCK):
            return
        # It returns once another process watches, which it leaves behind.
        ended = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                lifetime_watcher.__name__,
                os.fspath(environment.home),
                os.fspath(environment.spec),
                *(sys.executable, "-P", "-m", "algaenv"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=dict(environ),
            check=False,
            timeout=_START_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unwatched(environment, str(error)) from error
    if ended.returncode:
        raise _unwatched(environment, f"it ended with {ended.returncode}")


def _unwatched(environment: Environment, why: str) -> Failed:
    return Failed(
        Problem(
            "lifetime-unwatched",
            f"cannot start the process that takes {environment.name} down later: {why}",
            "leave `--ttl` and `--owner-pid` out, and take it down with `algaenv down`",
        )
    )
