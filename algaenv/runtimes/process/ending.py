"""Ends processes exactly: through a handle that cannot come to mean another process.

Between reading a pid and sending it a signal the process may end and its pid be given away. A
pidfd stays with its process, and becomes readable when that ends; so nothing here can hit a
stranger, and nothing waits longer than it must.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator

from algaenv.model.problem import Failed, Problem, Refused
from algaenv.runtimes.process import procfs
from algaenv.runtimes.process.procfs import Identity

_KILL_SECONDS = 10.0


def end(process: Identity, *, gently: float) -> None:
    """SIGTERM, and SIGKILL after `gently` seconds; back as soon as the process has ended.

    Raises Failed (`process-stuck`) when even that does not end it, since it hangs in the kernel,
    and Refused (`process-denied`) for a process of another user.
    """
    with handle(process) as descriptor:
        if descriptor is None:
            return
        if gently > 0:
            _signal(descriptor, process, signal.SIGTERM)
            if ended(descriptor, gently):
                return
        _signal(descriptor, process, signal.SIGKILL)
        if not ended(descriptor, _KILL_SECONDS):
            raise Failed(
                Problem(
                    "process-stuck",
                    f"cannot end process {process.pid} ({procfs.command(process.pid)})",
                    "it does not react to SIGKILL: look for a disk or a mount that hangs",
                )
            )


def wait(processes: Iterable[Identity], seconds: float) -> tuple[Identity, ...]:
    """Wait until all have ended, at most so long; those that have not."""
    deadline = time.monotonic() + seconds
    left = []
    for process in processes:
        with handle(process) as descriptor:
            if descriptor is not None and not ended(descriptor, deadline - time.monotonic()):
                left.append(process)
    return tuple(left)


@contextlib.contextmanager
def handle(process: Identity) -> Iterator[int | None]:
    """A pidfd of exactly this process; None when it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        # The pid may have been given away before the handle was made, not after.
        yield descriptor if procfs.alive(process) else None
    finally:
        os.close(descriptor)


def ended(descriptor: int, seconds: float) -> bool:
    """Whether the process of a pidfd has ended, after waiting at most so long for it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _signal(descriptor: int, process: Identity, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return  # It ended meanwhile, which the descriptor shows.
    except PermissionError as error:
        raise Refused(
            Problem(
                "process-denied",
                f"cannot end process {process.pid} ({procfs.command(process.pid)}): not allowed",
                "run this as the user who started the environment",
            )
        ) from error
