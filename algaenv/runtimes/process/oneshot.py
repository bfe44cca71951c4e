"""Runs a tool to its end the way a service would be run, and lets it not outlive this program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from algaenv.model.problem import Failed, Problem
from algaenv.runtimes.process.privileges import Way

LAUNCHER = Path(__file__).with_name("launch.py")
_SECONDS = 120.0


def run(argv: Sequence[str], way: Way, *, typed: str = "") -> subprocess.CompletedProcess[str]:
    """What it said and its exit code, whatever that is; `typed` goes to its standard input.

    A session of its own keeps a Ctrl-C meant for us away from it: we let running steps end. Raises
    Failed (`process-failed`) when it takes too long.
    """
    caller = str(os.getpid())
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), way, caller, *argv],
            input=typed,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
            env=_environment(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(
            Problem(
                "process-failed",
                f"cannot finish {Path(argv[0]).name} within {_SECONDS:g} s",
                "see whether the disk is slow or full",
            )
        ) from error


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Messages we can read, and none of the settings that PG… variables would make."""
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
    return {"LC_ALL": "C"} | {name: environ[name] for name in kept if name in environ}
