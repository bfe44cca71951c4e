"""How much memory the guests of one worker may take together.

Each guest has a limit of its own, and many of them at once have many of those. The engine tells
nobody that a memory grows, so it is looked at from outside: at each tick of a guest, on its thread,
when one computes at a time. Whoever grew while there is too much is ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from algaenv.runner.wasm.failure import GuestFailure, Kind

LEAST_BYTES = 512 * 1024 * 1024
"""Of a worker, on whatever machine: two guests with all that each may have."""
GREW_BYTES = 16 * 1024 * 1024
"""What a guest must have taken to be the one that is ended."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_UNLIMITED = 1 << 60
_LONGEST_NUMBER = 19


@dataclass(slots=True)
class Grown:
    """What one guest took so far, as far as it was seen."""

    seen: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """`most` bytes for this process, the engine and everything else included."""

    most: int

    @classmethod
    def read(cls, env: Mapping[str, str], workers: int) -> Budget:
        """`RUNNER_WORKER_MEMORY_BYTES`; unset or no number, half of the machine's memory, or of
        the control group's, shared by the workers, and not less than LEAST_BYTES."""
        text = env.get("RUNNER_WORKER_MEMORY_BYTES", "").strip()
        if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and int(text):
            return cls(int(text))
        return cls(max(LEAST_BYTES, min(_memory()) // 2 // workers))

    def begin(self) -> Grown:
        """Note what there is before a guest begins."""
        return Grown(used())

    def look(self, grown: Grown) -> None:
        """Note what it took since the last look. Raises GuestFailure (memory) if it must end."""
        now = used()
        grown.bytes += max(0, now - grown.seen)
        grown.seen = now
        if now > self.most and grown.bytes >= GREW_BYTES:
            mib = self.most >> 20
            raise GuestFailure(
                Kind.MEMORY,
                f"the guests of this worker hold more than {mib} MiB together, and this one grew",
            )


def used() -> int:
    """Bytes of memory that this process holds and shares with no file; 0 where nothing tells."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _memory() -> Iterator[int]:
    """What this machine has, and what the control groups that a container sees allow."""
    with suppress(OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * _PAGE
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            yield int(Path("/sys/fs/cgroup", file).read_text())
    yield _UNLIMITED
