"""How processes of the service are tied to each other: none of them outlives it."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with(parent: int) -> None:
    """Be killed when the thread of `parent` that started this process ends, whatever it ends by.

    Exits at once when it has ended already. A process started from a thread that may end before
    the work is done must not ask for this.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def adopt_orphans() -> None:
    """Processes below this one become its children when their own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """The children of this process, zombies included; empty where the kernel does not say."""
    with suppress(OSError):
        told = Path("/proc/self/task", str(os.getpid()), "children").read_text()
        return [int(pid) for pid in told.split()]
    return []


def _prctl(option: int, value: int) -> None:
    rest = [ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(ctypes.c_int(option), *rest) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
