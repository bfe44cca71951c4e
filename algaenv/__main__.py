"""The entry point: everything else is imported only once it is needed."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process, and end it with its exit code."""
    import gc

    # A run is short, and most of its objects live as long as it does: looking for garbage among
    # them while modules are imported only costs time.
    gc.set_threshold(50_000, 20, 20)
    from algaenv.cli import main as run

    leave(run())


def leave(code: int) -> NoReturn:
    """End at once, without taking the interpreter apart object by object.

    That takes a tenth of a run that finds nothing to do. It also spares whoever interrupted a run
    the wait for abandoned steps, which may still run in threads. Nothing is lost: files and
    connections were closed by those who opened them, and what was said is flushed here.
    """
    import contextlib
    import os

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
