"""What runs handlers in a worker: the engine, its threads, and the components in memory.

Made off the event loop while the worker is already answering; calls wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algaenv.runner.locks import import_lock

if TYPE_CHECKING:
    from algaenv.runner.components.compiled import CompiledComponents, OnCompileEvent
    from algaenv.runner.components.loaded import LoadedComponents
    from algaenv.runner.execute.invocation import HostFunctions
    from algaenv.runner.wasm.guest import Guest, GuestLoader
    from algaenv.runner.wasm.guest_executor import GuestExecutor
    from algaenv.runner.wasm.guest_limits import MemoryBudget

_log = logging.getLogger(__name__)

MAX_STUCK = 6
"""Threads that sleep where nothing can end them, from which on the worker is replaced."""


class RuntimeUnavailable(Exception):
    """The engine cannot be created in this process; the text is the reason."""


@dataclass(frozen=True, slots=True)
class WasmRuntime:
    """The engine and what belongs to it."""

    guests: GuestLoader
    loaded: LoadedComponents[Guest]
    executor: GuestExecutor


class LazyWasmRuntime:
    """The `WasmRuntime` of this process, created in the background; close it at the end.

    `table` gives the host functions, `threads` is how many calls run at once and `queue` how many
    may wait. `recycle` asks for another process in place of this one; `budget` is what all guests
    may hold together.
    """

    def __init__(
        self,
        table: Callable[[], HostFunctions],
        compiled: CompiledComponents,
        *,
        threads: int,
        queue: int,
        on_event: OnCompileEvent,
        recycle: Callable[[], None],
        budget: MemoryBudget | None = None,
    ) -> None:
        self._budget = budget
        self._table, self._compiled, self._on_event = table, compiled, on_event
        self._threads, self._queue = threads, queue
        self._recycle = recycle
        self._task: asyncio.Task[WasmRuntime] | None = None
        self._recycle_requested = False

    def start(self) -> None:
        """Start making the engine; needs a running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._make())

    async def get(self) -> WasmRuntime:
        """Wait until the engine is made, the first time. Raises RuntimeUnavailable."""
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            runtime = task.result()
        else:
            self.start()
            assert self._task is not None  # noqa: S101
            runtime = await asyncio.shield(self._task)
        if runtime.executor.stuck >= MAX_STUCK and not self._recycle_requested:
            self._recycle_requested = True
            fields = {"stuck": runtime.executor.stuck}
            _log.warning("too many guests cannot be ended", extra={"fields": fields})
            self._recycle()
        return runtime

    @property
    def current(self) -> WasmRuntime | None:
        """The runtime if it is there already."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or task.exception():
            return None
        return task.result()

    async def aclose(self) -> None:
        """Let the calls under way end."""
        if (runtime := self.current) is not None:
            await runtime.executor.close()

    async def _make(self) -> WasmRuntime:
        from algaenv.runner.components.loaded import LoadedComponents

        try:
            guests = await asyncio.to_thread(self._make_guests)
        except Exception as error:
            _log.exception("no engine")
            raise RuntimeUnavailable(f"{type(error).__name__}: {error}") from error
        from algaenv.runner.wasm.guest_executor import GuestExecutor

        return WasmRuntime(
            guests,
            LoadedComponents(guests, self._compiled, on_event=self._on_event),
            GuestExecutor(threads=self._threads, queue=self._queue, ticker=guests.ticker),
        )

    def _make_guests(self) -> GuestLoader:
        with import_lock():
            # What the first call would import otherwise, and wait for.
            import algaenv.runner.execute.request_models
            import algaenv.runner.wasm.guest_executor
            import algaenv.runner.wasm.wit  # noqa: F401
            from algaenv.runner.wasm.guest import GuestLoader

        return GuestLoader(self._table(), self._threads, budget=self._budget)
