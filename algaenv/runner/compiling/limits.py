"""How much compiling may take, and how much of its results is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_MAX_BYTES = 4 << 30
DEFAULT_LOADED_MAX = 32
DEFAULT_SECONDS = 3600
DEFAULT_CPU_SECONDS = 300
DEFAULT_MEMORY_BYTES = 8 << 30

_LONGEST_NUMBER = 18


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def half_the_cores() -> int:
    """How many compiles run at a time unless the environment says: half of the cores, or one."""
    return max(1, cores() // 2)


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """Bounds of compiling; see `read` for the variables behind them.

    A component of 12 MB takes about 5 s, 9 s of processor time and 0.5 GB, and its compiled form
    36 MB: the defaults stop only what would never end.
    """

    max_bytes: int = DEFAULT_MAX_BYTES
    """Of compiled files on disk; what was used in the last seconds is never evicted."""
    loaded_max: int = DEFAULT_LOADED_MAX
    """Components that one process has in memory, ready to be called."""
    seconds: float = DEFAULT_SECONDS
    """For one component, from the start of its compiling, however busy the machine is: this ends
    what hangs. What computes is bounded by `cpu_seconds`."""
    cpu_seconds: int = DEFAULT_CPU_SECONDS
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    """Of address space, most of which is never touched."""
    at_once: int = field(default_factory=half_the_cores)
    """Compiles at a time, by all processes that share the cache directory."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> CompileLimits:
        """Read `RUNNER_COMPILED_MAX_BYTES` (4 GiB), `RUNNER_LOADED_MAX` (32),
        `RUNNER_COMPILE_SECONDS` (3600), `RUNNER_COMPILE_CPU_SECONDS` (300),
        `RUNNER_COMPILE_MEMORY_BYTES` (8 GiB) and `RUNNER_COMPILES_AT_ONCE` (half of the cores).

        What is not a number counts as unset, as with the other variables of the service.
        """
        return cls(
            max_bytes=_number(env, "RUNNER_COMPILED_MAX_BYTES", 0, DEFAULT_MAX_BYTES),
            loaded_max=_number(env, "RUNNER_LOADED_MAX", 1, DEFAULT_LOADED_MAX),
            seconds=_number(env, "RUNNER_COMPILE_SECONDS", 1, DEFAULT_SECONDS),
            cpu_seconds=_number(env, "RUNNER_COMPILE_CPU_SECONDS", 1, DEFAULT_CPU_SECONDS),
            memory_bytes=_number(env, "RUNNER_COMPILE_MEMORY_BYTES", 1, DEFAULT_MEMORY_BYTES),
            at_once=_number(env, "RUNNER_COMPILES_AT_ONCE", 1, half_the_cores()),
        )


def _number(env: Mapping[str, str], name: str, least: int, default: int) -> int:
    text = env.get(name, "").strip()
    if len(text) > _LONGEST_NUMBER or not (text.isascii() and text.isdigit()):
        return default
    return max(least, int(text))
