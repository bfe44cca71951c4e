"""The entry point: everything else is imported only once it is needed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` itself is imported by type checkers only: it is slow.
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process, and end it with its exit code."""
    import gc

    # A run is short, and most of its objects live until its end, so frequent garbage collection
    # while modules are imported only costs time.
    gc.set_threshold(50_000, 20, 20)
    import os

    if "_ARGCOMPLETE" in os.environ:  # A shell asks what may stand next.
        from algaenv.cli.completion import complete

        complete(os.environ)
    from algaenv.cli import main as run

    leave(run())


def leave(code: int) -> NoReturn:
    """Exit at once, without the finalization of the interpreter.

    Finalization takes a tenth of a no-op, and would wait for abandoned steps in threads. Nothing is
    lost: files and connections are closed by their owners, and the streams are flushed here.
    """
    import contextlib
    import os

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
