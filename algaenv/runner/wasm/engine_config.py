"""How the engine is set up, so that what one process compiles another can load.

Compiled code only loads into an engine with the same tunables; the sizes of the pool are not among
them, so one file serves an engine with a pool, one without, and the process that compiles.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wasmtime

SUPPORTED = "50."
"""The value layer relies on the C structures of this line of wasmtime."""

GUARD_BYTES = 32 << 20
RESERVATION_BYTES = 4 << 30
"""Of address space for every linear memory: code needs no bounds checks then."""

WASM_STACK_BYTES = 512 << 10
THREAD_STACK_BYTES = 8 << 20
"""For threads that run guests: their stack, host functions on top of it, and Python."""

LIMITS = (1_000_000, 256, 64, 16)
"""Of one guest: elements of a table, core instances, tables, memories. The pool allows fewer."""

_TUNABLES = (
    "epoch_interruption=on",
    "concurrency_support=off",
    "opt_level=speed",
    f"memory_reservation={RESERVATION_BYTES}",
    f"memory_guard={GUARD_BYTES}",
    "memory_init_cow=on",
)
_REVISION = 1
"""Raised when something changes compiled code and stands nowhere else in the fingerprint."""


_SINGLE_PASS = 1
"""`WASMTIME_REGALLOC_ALGORITHM_SINGLE_PASS`, which the package has no name for."""


class CompileTier(StrEnum):
    """How much work is put into a component's code. One engine loads the code of either."""

    QUICK = "quick"
    """No optimisation and registers assigned in one pass: half the processor time, slower code."""
    OPTIMISED = "optimised"


@dataclass(frozen=True, slots=True)
class Pool:
    """Sizes of the pooling allocator: how much can be alive at once, and what stays warm.

    A component of componentize-js takes 1 memory, 2 tables and 3 core instances, one of QuickJS
    3, 3 and 13, one of componentize-py 1, 1 and 38.
    """

    guests: int
    memories: int
    tables: int
    core_instances: int
    keep_resident_bytes: int = 16 << 20
    """Of a used memory: reset by copying instead of by page faults. Costs that much per slot."""
    table_elements: int = 20_000
    warm_slots: int = 8
    """Slots that stay resident for the component that used them last."""

    @classmethod
    def of(cls, guests: int, /) -> Pool:
        """Return a pool for this many guests at once, of the kinds that tool chains build."""
        return cls(guests, memories=4 * guests, tables=8 * guests, core_instances=48 * guests)

    @property
    def address_space(self) -> int:
        """Bytes of address space the engine reserves at once."""
        return (self.memories + 1) * (RESERVATION_BYTES + 2 * GUARD_BYTES) + (1 << 30)


@cache
def fingerprint() -> str:
    """Return text that differs between engines whose compiled code is not exchangeable.

    It names the version of wasmtime, the settings that reach the code, and the machine's kind:
    the features of the processor are checked when a file is loaded.
    """
    from importlib.metadata import version

    parts = (f"wasmtime={version('wasmtime')}", f"revision={_REVISION}", *_TUNABLES)
    return "\n".join((*parts, f"machine={platform.system()}-{platform.machine()}"))


def tier_fingerprint(tier: CompileTier) -> str:
    """Return text that names the code of a tier as well: both may be kept beside each other."""
    return fingerprint() if tier is CompileTier.OPTIMISED else f"{fingerprint()}\ntier={tier}"


def config(
    *, pool: Pool | None = None, parallel: bool = True, tier: CompileTier = CompileTier.OPTIMISED
) -> wasmtime.Config:
    """Return the settings of an engine. `parallel` only says on how many cores it compiles."""
    import wasmtime
    from wasmtime import _ffi as ffi

    made = wasmtime.Config()
    made.epoch_interruption = True
    made.cranelift_opt_level = "speed" if tier is CompileTier.OPTIMISED else "none"
    if tier is CompileTier.QUICK:
        ffi.wasmtime_config_cranelift_regalloc_algorithm_set(made.ptr(), _SINGLE_PASS)
    made.parallel_compilation = parallel
    made.memory_reservation = RESERVATION_BYTES
    made.memory_guard_size = GUARD_BYTES
    made.memory_init_cow = True
    made.max_wasm_stack = WASM_STACK_BYTES
    ffi.wasmtime_config_concurrency_support_set(made.ptr(), False)
    if pool is not None:
        _pool(made, pool)
    return made


def _pool(made: wasmtime.Config, pool: Pool) -> None:
    from wasmtime import _ffi as ffi

    sizes = {
        "total_component_instances": pool.guests,
        "total_core_instances": pool.core_instances,
        "total_memories": pool.memories,
        "total_tables": pool.tables,
        "max_core_instances_per_component": pool.core_instances // pool.guests,
        "max_memories_per_component": pool.memories // pool.guests,
        "max_tables_per_component": pool.tables // pool.guests,
        "max_memories_per_module": pool.memories // pool.guests,
        "max_tables_per_module": pool.tables // pool.guests,
        "max_memory_size": RESERVATION_BYTES,
        "table_elements": pool.table_elements,
        "linear_memory_keep_resident": pool.keep_resident_bytes,
        "table_keep_resident": 1 << 20,
        "max_unused_warm_slots": pool.warm_slots,
    }
    pooling = ffi.wasmtime_pooling_allocation_config_new()
    try:
        for name, size in sizes.items():
            getattr(ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pooling, size)
        ffi.wasmtime_pooling_allocation_strategy_set(made.ptr(), pooling)
    finally:
        ffi.wasmtime_pooling_allocation_config_delete(pooling)
