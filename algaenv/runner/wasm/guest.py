"""A handler that is compiled, linked and ready to be called, any number of times at once.

Every call gets a store and an instance of its own, and nothing outlives the call.

`GuestLoader` has the engines of the process. Most components fit the pooling allocator, whose slots
stay warm. One with more memories, tables or instances than a slot allows gets an engine without a
pool: slower to start, and nothing else differs.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from algaenv.runner.components.shell import shell_digest
from algaenv.runner.execute.invocation import DeadlineExceeded, HostFunctions, Invocation
from algaenv.runner.wasm import abi, engine_config, wit
from algaenv.runner.wasm.active_call import ActiveCall, LoopBridge, OutputCapture, ThreadContext
from algaenv.runner.wasm.engine_config import LIMITS
from algaenv.runner.wasm.failure import INTERRUPT, POOL, FailureKind, GuestFailure, causes, diagnose
from algaenv.runner.wasm.guest_limits import (
    MemoryBudget,
    Ticker,
    memory_touched,
)
from algaenv.runner.wasm.lift import Lifter, lifter
from algaenv.runner.wasm.linker import (
    HTTP,
    PREFIX,
    STDERR,
    LinkerDefinitions,
    WasiHttpStubs,
    define_extension,
    define_shell,
    link_failure,
    read_signature,
)
from algaenv.runner.wasm.lower import Arena, ConversionError, Lowerer, lowerer

_MAX_I64 = 2**63 - 1
_FULL = 0.75
"""Of its memory: a guest that was refused more holds at least this, unless it asked for a lot."""
_LEAST_FULL = 4 * 1024 * 1024
"""Bytes; a call touches some memory of the host as well."""


@dataclass(frozen=True, slots=True)
class LinkedComponent:
    """What calls of one component need. Some of it is only kept so that it lives long enough."""

    engine: Any
    linker: Any
    component: Any
    handler: Any
    """The index of the export."""
    keep_alive: tuple[object, ...]
    lower: Lowerer
    lift: Lifter
    wasi: bool
    stderr: bool
    """Whether it imports the stream."""
    on_epoch: Any


class Guest:
    """Made by `GuestLoader.load`. Dropping the last reference frees it."""

    def __init__(
        self,
        prepared: LinkedComponent,
        thread_context: ThreadContext,
        ticker: Ticker,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._prepared, self._thread_context, self._ticker = prepared, thread_context, ticker
        self._budget = budget
        self._engine = abi.address(prepared.engine.ptr())
        self._linker = abi.address(prepared.linker.ptr())
        self._component = abi.address(prepared.component.ptr())
        self._handler = abi.address(prepared.handler.ptr())

    def call(
        self, invocation: Invocation, request: dict[str, Any], *, memory_bytes: int
    ) -> dict[str, Any]:
        """Run the handler on this thread and return its response: status, headers, body.

        `memory_bytes` is the most that one memory may hold, inclusive. The guest is ended at the
        deadline of the invocation. Raises GuestFailure.
        """
        thread_context = self._thread_context
        call = thread_context.call = ActiveCall(invocation, self._capture())
        if self._budget is not None:
            call.budget, call.growth = self._budget, self._budget.start()
        store = abi.store_new(self._engine, None, None)
        untouched = memory_touched()
        try:
            with self._ticker:
                return self._run(call, store, request, memory_bytes)
        except GuestFailure as failure:
            failure.mute = not self._prepared.stderr
            touched = memory_touched() - untouched
            failure.full = touched >= max(memory_bytes * _FULL, _LEAST_FULL)
            raise
        finally:
            self._delete_store(store, invocation)
            thread_context.call = None
            if call.capture is not None:
                call.capture.end(invocation)
            # A traceback would hold the frame that holds the traceback.
            call.fault = None

    @staticmethod
    def _delete_store(store: int, invocation: Invocation) -> None:
        """Free a store, after the response if possible: it takes as long as cleaning its memory."""
        wait = invocation.wait
        if not (isinstance(wait, LoopBridge) and wait.defer(lambda: abi.store_delete(store))):
            abi.store_delete(store)

    def check(self) -> None:
        """Instantiate once without running anything. Raises GuestFailure if it cannot be linked."""
        store = abi.store_new(self._engine, None, None)
        try:
            context = abi.store_context(store)
            abi.store_limits(store, -1, *LIMITS)
            if self._prepared.wasi:
                _set_empty_wasi(context, None)
            error = abi.instantiate(
                self._linker, context, self._component, ctypes.byref(abi.Instance())
            )
            if error:
                failure = diagnose(abi.take_error(error)[0], FailureKind.INSTANTIATE)
                if failure.kind is FailureKind.LINK:
                    raise failure
        finally:
            abi.store_delete(store)

    def _capture(self) -> OutputCapture | None:
        if not self._prepared.wasi:
            return None
        thread_context = self._thread_context
        if thread_context.capture is None:
            thread_context.capture = OutputCapture()
        thread_context.capture.start()
        return thread_context.capture

    def _run(
        self, call: ActiveCall, store: int, request: dict[str, Any], memory_bytes: int
    ) -> dict[str, Any]:
        prepared, timings = self._prepared, call.invocation.timings
        if call.expired:
            raise GuestFailure(FailureKind.TIMEOUT, "the time of the call was over before it began")
        started = time.perf_counter()
        context = abi.store_context(store)
        abi.store_limits(store, max(0, min(memory_bytes, _MAX_I64)), *LIMITS)
        abi.set_epoch_deadline(context, 1)
        abi.store_on_epoch(store, prepared.on_epoch, None, None)
        if prepared.wasi:
            _set_empty_wasi(context, call.capture)
        instance, function = abi.Instance(), abi.Function()
        error = abi.instantiate(self._linker, context, self._component, ctypes.byref(instance))
        ready = time.perf_counter()
        timings.instantiate = ready - started
        if error:
            raise _failure(call, error, FailureKind.INSTANTIATE)
        if not abi.get_func(ctypes.byref(instance), context, self._handler, ctypes.byref(function)):
            raise GuestFailure(FailureKind.SIGNATURE, "failed to find function export")
        try:
            return self._call(call, context, function, request)
        finally:
            timings.run = time.perf_counter() - ready

    def _call(
        self, call: ActiveCall, context: int, function: Any, request: dict[str, Any]
    ) -> dict[str, Any]:
        arena = Arena()
        try:
            given = self._prepared.lower(request, arena)
        except ConversionError as unfit:
            raise GuestFailure(FailureKind.HOST, f"the request does not fit: {unfit}") from None
        response = bytearray(abi.VALUE)
        place = ctypes.addressof(ctypes.c_char.from_buffer(response))
        error = abi.call(ctypes.byref(function), context, id(given) + abi.BYTES_HEAD, 1, place, 1)
        if error:
            raise _failure(call, error, FailureKind.TRAP)
        body = None
        try:
            lifted: dict[str, Any] = self._prepared.lift(bytes(response), 0)
            body = lifted["body"]
            return lifted
        finally:
            is_large = body is not None and len(body) > abi.SLICE
            (abi.delete_large if is_large else abi.delete)(place)


def _set_empty_wasi(context: int, capture: OutputCapture | None) -> None:
    """Give a store a WASI without arguments, environment, directories, sockets or input."""
    config = abi.wasi_new()
    if capture is not None:
        # Where the files cannot be opened (no /proc), the guest's output is discarded.
        output, error = capture.paths
        abi.wasi_stdout(config, output)
        abi.wasi_stderr(config, error)
    problem = abi.set_wasi(context, config)
    if problem:
        raise RuntimeError(abi.take_error(problem)[0])


def _failure(call: ActiveCall, error: int, otherwise: FailureKind) -> BaseException:
    """Return what ended a call, from the engine's message and the fault on our side."""
    text, status = abi.take_error(error)
    chain = causes(text)
    match call.fault:
        case None if status is not None:
            return GuestFailure(
                FailureKind.EXIT, chain[0], reason=f"it exited with status {status}", causes=chain
            )
        case None:
            return diagnose(text, otherwise)
        case GuestFailure() as fault:
            return GuestFailure(fault.kind, chain[0], reason=fault.reason, causes=chain)
        case DeadlineExceeded():
            return GuestFailure(FailureKind.TIMEOUT, chain[0], reason=INTERRUPT, causes=chain)
        case ConversionError() as fault:
            reason = f"{call.function} of this runner returned what does not fit: {fault}"
            return GuestFailure(FailureKind.HOST, chain[0], reason=reason, causes=chain)
        case Exception():
            reason = f"{call.function} of this runner failed"
            return GuestFailure(FailureKind.HOST, chain[0], reason=reason, causes=chain)
        case fault:
            return fault


SPARE_GUESTS = 8
"""Guests beyond those of the executor's threads: the ones that sleep where nothing can end them."""

_MAP_NORESERVE = 0x4000
_NO_HANDLER = "failed to find function export"
_NOT_THE_TYPE = "failed to convert function to given type"


class UnusableFile(Exception):
    """A compiled file cannot be loaded: damaged, or made by another engine. Compile it again."""


class GuestLoader:
    """Loads compiled components and links them with the host functions of `table`.

    `threads`: how many calls run at once; `budget`: what they may hold together. Make it after
    forking, once a process: engines have threads and signal handlers.
    """

    def __init__(
        self,
        table: HostFunctions,
        threads: int,
        *,
        pooled: bool = True,
        budget: MemoryBudget | None = None,
    ) -> None:
        import wasmtime

        # Enabled later, it would take the signals of traps away from the engine.
        if not faulthandler.is_enabled() and sys.__stderr__ is not None:
            with suppress(OSError, ValueError):
                faulthandler.enable(sys.__stderr__)
        self._table = table
        self._budget = budget
        self._thread_context = ThreadContext()
        self.ticker = Ticker()
        self._on_epoch = abi.EPOCH(self._epoch)
        pool = engine_config.Pool.of(threads + SPARE_GUESTS)
        self.pooled = pooled and _can_reserve(pool.address_space)
        engines = [wasmtime.Engine(engine_config.config())]
        if self.pooled:
            engines.insert(0, wasmtime.Engine(engine_config.config(pool=pool)))
        self._engines = [
            (engine, WasiHttpStubs(engine, self._thread_context)) for engine in engines
        ]
        for engine in engines:
            self.ticker.add(partial(abi.increment_epoch, abi.address(engine.ptr())))

    def load(self, file: Path) -> Guest:
        """Load a file that `Component.serialize` has made with this fingerprint.

        The name of a file begins with the digest of its component, by which the shell is known.
        Raises GuestFailure (link, signature), UnusableFile, OSError if there is no such file.
        """
        is_shell = file.name.startswith(shell_digest().hex)
        for engine, refusals in self._engines[:-1]:
            with suppress(_ExceedsPool):
                component = _deserialize(engine, file)
                return self._link(engine, refusals, component, is_shell=is_shell)
        engine, refusals = self._engines[-1]
        return self._link(engine, refusals, _deserialize(engine, file), is_shell=is_shell)

    def close(self) -> None:
        """End the ticker; no call may be under way."""
        self.ticker.close()

    def _link(
        self, engine: Any, refusals: WasiHttpStubs, component: Any, *, is_shell: bool
    ) -> Guest:
        from wasmtime.component import FuncType, Linker

        imports = _imports(engine, component)
        linker = Linker(engine)
        definitions = LinkerDefinitions(linker, self._thread_context)
        wasi = any(name.startswith(PREFIX) for name in imports)
        if wasi:
            linker.add_wasip2()
        if any(name.startswith(HTTP) for name in imports):
            refusals.define(definitions, imports)
        for name, items in imports.items():
            functions = {item: kind for item, kind in items.items() if isinstance(kind, FuncType)}
            if name.startswith(wit.PACKAGE) and functions:
                define_extension(definitions, name, functions, self._table)
            elif name == wit.SHELL and is_shell:
                define_shell(definitions, functions)
            elif functions and not name.startswith(PREFIX):
                raise link_failure(name, [f"this runner has nothing called {name}"])
        prepared = self._prepare(engine, linker, component, definitions, imports)
        guest = Guest(prepared, self._thread_context, self.ticker, self._budget)
        guest.check()
        return guest

    def _prepare(
        self,
        engine: Any,
        linker: Any,
        component: Any,
        definitions: LinkerDefinitions,
        imports: Collection[str],
    ) -> LinkedComponent:
        from wasmtime.component import FuncType

        extern = component.type.exports(engine).get(wit.HANDLER)
        kind = None if extern is None else extern.ty
        if not isinstance(kind, FuncType):
            reason = f"it exports no function called {wit.HANDLER}"
            raise GuestFailure(FailureKind.SIGNATURE, _NO_HANDLER, reason=reason)
        expected, (exported, problem) = wit.handler_signature(), read_signature(kind)
        problems = [problem]
        if exported is not None:
            problems = list(wit.mismatches(expected, exported, host_calls=True))
        if exported is None or exported.result is None or problems:
            reason = f"{wit.HANDLER}: {'; '.join(problems)}"
            raise GuestFailure(
                FailureKind.SIGNATURE,
                _NOT_THE_TYPE,
                reason=reason,
                causes=(_NOT_THE_TYPE, *problems),
            )
        return LinkedComponent(
            engine=engine,
            linker=linker,
            component=component,
            handler=component.get_export_index(wit.HANDLER),
            keep_alive=(*definitions.keep_alive, self._on_epoch),
            lower=lowerer(exported.parameters[0][1]),
            lift=lifter(exported.result, expected.result),
            wasi=any(name.startswith(PREFIX) for name in imports),
            stderr=any(name.startswith(STDERR) for name in imports),
            on_epoch=self._on_epoch,
        )

    def _epoch(self, _context: int, _data: int, ticks: Any, update: Any) -> int | None:
        """Run on the thread of a guest at each tick."""
        call = self._thread_context.call
        message = call.tick() if call is not None else b"no call is under way"
        if message is not None:
            return abi.error_new(message)  # type: ignore[no-any-return]
        ticks[0], update[0] = 1, 0
        return None


def _imports(engine: Any, component: Any) -> dict[str, dict[str, Any]]:
    """Return the types of what every imported interface holds."""
    from wasmtime.component import ComponentInstanceType

    found = {}
    for name, extern in component.type.imports(engine).items():
        try:
            kind = extern.ty
            if isinstance(kind, ComponentInstanceType):
                found[name] = {item: one.ty for item, one in kind.exports(engine).items()}
        except TypeError as error:
            raise link_failure(name, [f"{name}: {error}"]) from None
    return found


class _ExceedsPool(Exception):
    """A component does not fit the pool."""


def _deserialize(engine: Any, file: Path) -> Any:
    """Map the file, or read it where a mapping may not be executed (`noexec`)."""
    import wasmtime
    from wasmtime.component import Component

    try:
        return Component.deserialize_file(engine, str(file))
    except wasmtime.WasmtimeError as error:
        if POOL in str(error):
            raise _ExceedsPool from None
    try:
        return Component.deserialize(engine, file.read_bytes())
    except wasmtime.WasmtimeError as error:
        raise UnusableFile(str(error)) from None


def _can_reserve(size: int) -> bool:
    """Return whether this much address space is available; the engine would abort if not.

    A limit on it, a small address space and a strict kernel all show here.
    """
    if sys.platform == "linux":
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            with mmap.mmap(-1, size, flags=flags, prot=0):
                return True
        except (OSError, ValueError, OverflowError):
            return False
    else:
        return False
