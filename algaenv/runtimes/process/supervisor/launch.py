"""Runs one program in an isolation mode and ends it with its caller.

    python -I -S launch.py <isolation mode> <pid of the caller> <program> [argument ...]

A separate program, because a process with threads can neither enter a user namespace nor safely run
Python between fork and exec.
"""

from __future__ import annotations

import os
import sys

ISOLATION_FAILED = 96
"""The exit code when this machine refuses the isolation mode or the program."""


def main(arguments: list[str]) -> int:
    """Replace this process by the program; returns only on failure."""
    from algaenv.runtimes.process.supervisor import privileges

    isolation, caller, program = arguments[0], int(arguments[1]), arguments[2:]
    os.umask(0o077)
    try:
        for known in privileges.ISOLATION_MODES:
            if known == isolation:
                privileges.enter_isolation(known)
        privileges.die_with_parent(caller)
        os.execvp(program[0], program)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        print(f"{program[0]}: {error}", file=sys.stderr)  # noqa: T201 - its only output
        return ISOLATION_FAILED


if __name__ == "__main__":
    # Appended, so that no installed package can shadow the standard library.
    sys.path.append(os.path.abspath(f"{__file__}/../../../../.."))  # noqa: PTH100
    sys.exit(main(sys.argv[1:]))
