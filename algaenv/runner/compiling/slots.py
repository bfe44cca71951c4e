"""How many compiles run at a time among all processes that share a cache, and in which order.

A slot is a locked file, and so is a place in the queue: both vanish with their process. A process
stands in the queue once, for the first of those who wait within it. Waiting is asking again, on
the event loop, a few system calls every time.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_PAUSE = 0.02
_TICKET = "ticket."


class Slots:
    """`count` slots; first come, first served. The directories must exist by then."""

    def __init__(self, folder: Path, count: int, *, temporary: Path) -> None:
        self._slots = [folder / f"slot.{number}" for number in range(count)]
        self._folder, self._temporary = folder, temporary
        self._inside = asyncio.Lock()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait in line for a slot and hold it. Raises OSError."""
        async with self._inside:
            slot = await self._take()
        try:
            yield
        finally:
            os.close(slot)

    async def _take(self) -> int:
        with self._ticket() as ticket:
            while True:
                if self._is_first(ticket):
                    for file in self._slots:
                        if (slot := _locked(file, os.O_RDWR | os.O_CREAT)) is not None:
                            return slot
                await asyncio.sleep(_PAUSE)

    @contextmanager
    def _ticket(self) -> Iterator[str]:
        """A place in the queue, by time of arrival."""
        ticket = self._folder / f"{_TICKET}{time.time_ns():020}.{os.getpid()}"
        # A ticket that nobody holds is taken for one of the dead: it is locked before it shows.
        draft = self._temporary / ticket.name
        descriptor = _locked(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            draft.rename(ticket)
            yield ticket.name
        finally:
            ticket.unlink(missing_ok=True)
            if descriptor is not None:
                os.close(descriptor)

    def _is_first(self, ticket: str) -> bool:
        """Whether no living process was here before; the tickets of others are cleared away."""
        names = sorted(os.listdir(self._folder))  # noqa: PTH208 - names are all it takes
        if ticket not in names:
            raise FileNotFoundError(errno.ENOENT, "the queue was removed", str(self._folder))
        for name in names:
            if name == ticket:
                break
            if name.startswith(_TICKET) and not _is_dead(self._folder / name):
                return False
        return True


def _is_dead(ticket: Path) -> bool:
    """Whether its process left or is gone; the ticket is too, then."""
    try:
        descriptor = _locked(ticket, os.O_RDWR)
    except FileNotFoundError:
        return True
    if descriptor is None:
        return False
    ticket.unlink(missing_ok=True)
    os.close(descriptor)
    return True


def _locked(file: Path, flags: int) -> int | None:
    """A descriptor that holds the file's lock, or None when another one does. Raises OSError."""
    descriptor = os.open(file, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
