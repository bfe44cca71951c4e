"""The entry point: everything else is imported only once it is needed."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    import gc

    # A run is short, and most of its objects live as long as it does: looking for garbage among
    # them while modules are imported only costs time.
    gc.set_threshold(50_000, 20, 20)
    from algaenv.surface.cli import main as run
    from algaenv.surface.exit_codes import ExitCode

    code = run()
    if code == ExitCode.INTERRUPTED:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """Abandoned steps may still run in threads that Python would wait for at its own exit."""
    import os
    import threading

    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
