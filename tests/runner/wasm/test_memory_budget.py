"""What the guests of a worker hold together is bounded, and the one that grows pays for it."""

from __future__ import annotations

import pytest

from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from algaenv.runner.wasm.guest import GuestLoader
from algaenv.runner.wasm.guest_limits import MIN_BYTES, MIN_GROWTH_BYTES, MemoryBudget, memory_used

from .components import handler
from .stage import MEGABYTE, ComponentCompiler, invocation, request, table

FILL = """(local $page i32) (local $size i32)
  (loop $more
    (local.set $size (i32.mul (memory.size) (i32.const 65536)))
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then
      (memory.fill (local.get $size) (i32.const 1) (i32.const 65536))
      (br $more))))
  (loop $ever (br $ever)) unreachable"""
"""Takes all the memory that it may have, page by page, and computes for ever."""
SPIN = "(loop $ever (br $ever)) unreachable"


def failure(
    compiler: ComponentCompiler, budget: MemoryBudget | None, code: str, seconds: float
) -> GuestFailure:
    guests = GuestLoader(table(), 2, budget=budget)
    try:
        guest = compiler.load(guests, handler(code))
        with pytest.raises(GuestFailure) as caught:
            guest.call(invocation(seconds=seconds), request(), memory_bytes=256 * MEGABYTE)
        return caught.value
    finally:
        guests.close()


@pytest.mark.parametrize("compiler", CompileTier, indirect=True)
def test_one_that_grows_past_it_is_ended(compiler: ComponentCompiler) -> None:
    ended = failure(compiler, MemoryBudget(memory_used() + 64 * MEGABYTE), FILL, 60)
    assert ended.kind is FailureKind.MEMORY
    assert "MiB together" in ended.reason


def test_one_that_does_not_grow_is_not(compiler: ComponentCompiler) -> None:
    assert failure(compiler, MemoryBudget(1), SPIN, 0.3).kind is FailureKind.TIMEOUT


def test_without_a_budget_its_own_limit_counts(compiler: ComponentCompiler) -> None:
    assert failure(compiler, None, FILL, 1.5).kind is FailureKind.TIMEOUT


def test_what_is_configured() -> None:
    assert MemoryBudget.read({"RUNNER_WORKER_MEMORY_BYTES": "123"}, 4).max_bytes == 123
    for text in ("", "0", "-1", "x", "1" * 30):
        assert (
            MemoryBudget.read({"RUNNER_WORKER_MEMORY_BYTES": text}, 1 << 20).max_bytes == MIN_BYTES
        )
    assert MemoryBudget.read({}, 1).max_bytes >= MIN_BYTES
    assert memory_used() > MIN_GROWTH_BYTES // 16
