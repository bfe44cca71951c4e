"""A handler that is compiled, linked and ready to be called, any number of times at once.

Every call gets a store and an instance of its own, which nothing of it outlives.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Any

from algaenv.runner.invocation import Expired, Invocation
from algaenv.runner.wasm import abi
from algaenv.runner.wasm.budget import Budget
from algaenv.runner.wasm.capture import Capture
from algaenv.runner.wasm.diagnosis import INTERRUPT, causes, diagnose
from algaenv.runner.wasm.failure import GuestFailure, Kind
from algaenv.runner.wasm.lift import Lifter
from algaenv.runner.wasm.lower import Arena, Lowerer, Unfit
from algaenv.runner.wasm.running import Here, Running
from algaenv.runner.wasm.settings import LIMITS
from algaenv.runner.wasm.ticker import Ticker
from algaenv.runner.wasm.waiting import Wait

_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """What calls of one component need. Some of it is only kept so that it lives long enough."""

    engine: Any
    linker: Any
    component: Any
    handler: Any
    """The index of the export."""
    kept: tuple[object, ...]
    lower: Lowerer
    lift: Lifter
    wasi: bool
    stderr: bool
    """Whether it imports the stream."""
    on_epoch: Any


class Guest:
    """Made by `Guests.load`. Dropping the last reference frees it."""

    def __init__(
        self, prepared: Prepared, here: Here, ticker: Ticker, budget: Budget | None = None
    ) -> None:
        self._prepared, self._here, self._ticker = prepared, here, ticker
        self._budget = budget
        self._engine = abi.address(prepared.engine.ptr())
        self._linker = abi.address(prepared.linker.ptr())
        self._component = abi.address(prepared.component.ptr())
        self._handler = abi.address(prepared.handler.ptr())

    def call(
        self, invocation: Invocation, request: dict[str, Any], *, memory_bytes: int
    ) -> dict[str, Any]:
        """Run the handler on this thread and return its answer: status, headers, body.

        `memory_bytes` is the most that one memory may hold, inclusive. The guest is ended at the
        deadline of the invocation. Raises GuestFailure.
        """
        here = self._here
        running = here.running = Running(invocation, self._capture())
        if self._budget is not None:
            running.budget, running.grown = self._budget, self._budget.begin()
        store = abi.store_new(self._engine, None, None)
        try:
            with self._ticker:
                return self._run(running, store, request, memory_bytes)
        except GuestFailure as failure:
            failure.mute = not self._prepared.stderr
            raise
        finally:
            self._drop(store, invocation)
            here.running = None
            if running.capture is not None:
                running.capture.end(invocation)
            # A traceback would hold the frame that holds the traceback.
            running.fault = None

    @staticmethod
    def _drop(store: int, invocation: Invocation) -> None:
        """Free a store, which takes as long as to clean its memory: after the answer, on a lane."""
        wait = invocation.wait
        if not (isinstance(wait, Wait) and wait.put_off(lambda: abi.store_delete(store))):
            abi.store_delete(store)

    def check(self) -> None:
        """Instantiate once without running anything. Raises GuestFailure if it cannot be linked."""
        store = abi.store_new(self._engine, None, None)
        try:
            context = abi.store_context(store)
            abi.store_limits(store, -1, *LIMITS)
            if self._prepared.wasi:
                _grant_nothing(context, None)
            error = abi.instantiate(
                self._linker, context, self._component, ctypes.byref(abi.Instance())
            )
            if error:
                failure = diagnose(abi.take_error(error)[0], Kind.INSTANTIATE)
                if failure.kind is Kind.LINK:
                    raise failure
        finally:
            abi.store_delete(store)

    def _capture(self) -> Capture | None:
        if not self._prepared.wasi:
            return None
        here = self._here
        if here.capture is None:
            here.capture = Capture()
        here.capture.begin()
        return here.capture

    def _run(
        self, running: Running, store: int, request: dict[str, Any], memory_bytes: int
    ) -> dict[str, Any]:
        prepared, spent = self._prepared, running.invocation.spent
        if running.over:
            raise GuestFailure(Kind.TIMEOUT, "the time of the call was over before it began")
        started = time.perf_counter()
        context = abi.store_context(store)
        abi.store_limits(store, max(0, min(memory_bytes, _MOST)), *LIMITS)
        abi.set_epoch_deadline(context, 1)
        abi.store_on_epoch(store, prepared.on_epoch, None, None)
        if prepared.wasi:
            _grant_nothing(context, running.capture)
        instance, function = abi.Instance(), abi.Function()
        error = abi.instantiate(self._linker, context, self._component, ctypes.byref(instance))
        ready = time.perf_counter()
        spent.instantiate = ready - started
        if error:
            raise _failure(running, error, Kind.INSTANTIATE)
        if not abi.get_func(ctypes.byref(instance), context, self._handler, ctypes.byref(function)):
            raise GuestFailure(Kind.SIGNATURE, "failed to find function export")
        try:
            return self._call(running, context, function, request)
        finally:
            spent.run = time.perf_counter() - ready

    def _call(
        self, running: Running, context: int, function: Any, request: dict[str, Any]
    ) -> dict[str, Any]:
        arena = Arena()
        try:
            given = self._prepared.lower(request, arena)
        except Unfit as unfit:
            raise GuestFailure(Kind.HOST, f"the request does not fit: {unfit}") from None
        answer = bytearray(abi.VALUE)
        place = ctypes.addressof(ctypes.c_char.from_buffer(answer))
        error = abi.call(ctypes.byref(function), context, id(given) + abi.BYTES_HEAD, 1, place, 1)
        if error:
            raise _failure(running, error, Kind.TRAP)
        body = None
        try:
            lifted: dict[str, Any] = self._prepared.lift(bytes(answer), 0)
            body = lifted["body"]
            return lifted
        finally:
            much = body is not None and len(body) > abi.SLICE
            (abi.delete_much if much else abi.delete)(place)


def _grant_nothing(context: int, capture: Capture | None) -> None:
    """Give a store a WASI without arguments, environment, directories, sockets or input."""
    config = abi.wasi_new()
    if capture is not None:
        # Where the files cannot be opened (no /proc), what the guest says goes nowhere.
        output, error = capture.paths
        abi.wasi_stdout(config, output)
        abi.wasi_stderr(config, error)
    trouble = abi.set_wasi(context, config)
    if trouble:
        raise RuntimeError(abi.take_error(trouble)[0])


def _failure(running: Running, error: int, otherwise: Kind) -> BaseException:
    """Return what ended a call, from the engine's words and what happened on our side."""
    text, status = abi.take_error(error)
    chain = causes(text)
    match running.fault:
        case None if status is not None:
            return GuestFailure(
                Kind.EXIT, chain[0], reason=f"it exited with status {status}", causes=chain
            )
        case None:
            return diagnose(text, otherwise)
        case GuestFailure() as fault:
            return GuestFailure(fault.kind, chain[0], reason=fault.reason, causes=chain)
        case Expired():
            return GuestFailure(Kind.TIMEOUT, chain[0], reason=INTERRUPT, causes=chain)
        case Unfit() as fault:
            reason = f"{running.where} of this runner returned what does not fit: {fault}"
            return GuestFailure(Kind.HOST, chain[0], reason=reason, causes=chain)
        case Exception():
            reason = f"{running.where} of this runner failed"
            return GuestFailure(Kind.HOST, chain[0], reason=reason, causes=chain)
        case fault:
            return fault
