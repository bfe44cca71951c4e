"""Takes an environment down when its time is up or its owner gone: `… HOME SPEC COMMAND…`.

    watching ── is over ──> taking down ── done ──> end
       ^                        │
       └── renewed, or failed ──┘        watching ── no record ──> end

It outlives the command that started it, and holds a lock by which a later `up` sees that it
watches. `COMMAND` is the program that takes the environment down, without its arguments; it looks
at the record once more, under the lock of the environment, so that no `up` is undone that has just
renewed it. Standard library only: it is there as long as the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from algaenv.system import locks
from algaenv.system.lifetime import LOCK, read_lifetime

_PAUSE: Final = 1.0
"""Seconds between two looks at the record and the owner."""
_LONGEST_PAUSE: Final = 60.0
_RETRY_SECONDS: Final = 24 * 3600.0
"""How long a `down` that fails is tried again: the engine may be away."""
_DOWN_SECONDS: Final = 1800.0


def main(home: str, spec: str, command: Sequence[str]) -> int:
    """Return once a process watches the record, which ends when that is gone; the exit code."""
    try:
        descriptor = locks.open_locked(Path(home) / LOCK)
    except OSError:
        return 1
    if descriptor is None:
        return 0  # Another one watches.
    if os.fork():
        return 0  # The child has the descriptor, and with it the lock.
    _watch(home, spec, command)
    return 0


def _watch(home: str, spec: str, command: Sequence[str]) -> None:
    pause, failing_since = _PAUSE, None
    while (lifetime := read_lifetime(home)) is not None:
        if not lifetime.is_over():
            pause, failing_since = _PAUSE, None
        elif _take_down(spec, command, volumes=lifetime.volumes):
            continue  # The record is gone, unless an `up` has renewed it meanwhile.
        else:
            now = time.monotonic()
            failing_since = now if failing_since is None else failing_since
            if now - failing_since > _RETRY_SECONDS:
                return
            pause = min(pause * 2, _LONGEST_PAUSE)
        time.sleep(pause)


def _take_down(spec: str, command: Sequence[str], *, volumes: bool) -> bool:
    """Whether it ended well; what failed is in the log of the environment."""
    arguments = ["down", "--expired", "--quiet", "--yes", "--file", spec]
    arguments += ["--volumes"] if volumes else []
    try:
        ended = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_DOWN_SECONDS,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
