"""The engines of a process, and how a compiled component becomes a guest.

Most components fit the pool, whose slots stay warm. One with more memories, tables or instances
than a slot allows gets an engine without a pool: slower to start, and nothing else differs.
"""

from __future__ import annotations

import faulthandler
import mmap
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from algaenv.runner.invocation import HostTable
from algaenv.runner.wasm import abi, settings, world
from algaenv.runner.wasm.budget import Budget
from algaenv.runner.wasm.diagnosis import POOL
from algaenv.runner.wasm.failure import GuestFailure, Kind
from algaenv.runner.wasm.guest import Guest, Prepared
from algaenv.runner.wasm.lift import lifter
from algaenv.runner.wasm.link import Definitions, extension, missing, read
from algaenv.runner.wasm.lower import lowerer
from algaenv.runner.wasm.running import Here
from algaenv.runner.wasm.ticker import Ticker
from algaenv.runner.wasm.wasi import HTTP, PREFIX, STDERR, Refusals

SPARE = 8
"""Guests beyond those of the lanes: the ones that sleep where nothing can end them."""

_MAP_NORESERVE = 0x4000
_NO_HANDLER = "failed to find function export"
_NOT_THE_TYPE = "failed to convert function to given type"


class Unusable(Exception):
    """A compiled file cannot be loaded: damaged, or made by another engine. Compile it again."""


class Guests:
    """Loads compiled components and links them with the host functions of `table`.

    `lanes`: how many calls run at once; `budget`: what they may hold together. Make it after
    forking, once a process: engines have threads and signal handlers.
    """

    def __init__(
        self,
        table: HostTable,
        lanes: int,
        *,
        pooled: bool = True,
        budget: Budget | None = None,
    ) -> None:
        import wasmtime

        # Enabled later, it would take the signals of traps away from the engine.
        if not faulthandler.is_enabled() and sys.__stderr__ is not None:
            with suppress(OSError, ValueError):
                faulthandler.enable(sys.__stderr__)
        self._table = table
        self._budget = budget
        self._here = Here()
        self.ticker = Ticker()
        self._on_epoch = abi.EPOCH(self._epoch)
        pool = settings.Pool.of(lanes + SPARE)
        self.pooled = pooled and _can_reserve(pool.address_space)
        engines = [wasmtime.Engine(settings.config())]
        if self.pooled:
            engines.insert(0, wasmtime.Engine(settings.config(pool=pool)))
        self._engines = [(engine, Refusals(engine, self._here)) for engine in engines]
        for engine in engines:
            self.ticker.add(partial(abi.increment_epoch, abi.address(engine.ptr())))

    def load(self, file: Path) -> Guest:
        """Load a file that `Component.serialize` has made with this fingerprint.

        Raises GuestFailure (link, signature), Unusable, OSError if there is no such file.
        """
        for engine, refusals in self._engines[:-1]:
            with suppress(_TooBig):
                return self._link(engine, refusals, _deserialize(engine, file))
        engine, refusals = self._engines[-1]
        return self._link(engine, refusals, _deserialize(engine, file))

    def close(self) -> None:
        """End the ticker; no call may be under way."""
        self.ticker.close()

    def _link(self, engine: Any, refusals: Refusals, component: Any) -> Guest:
        from wasmtime.component import FuncType, Linker

        imports = _imports(engine, component)
        linker = Linker(engine)
        definitions = Definitions(linker, self._here)
        wasi = any(name.startswith(PREFIX) for name in imports)
        if wasi:
            linker.add_wasip2()
        if any(name.startswith(HTTP) for name in imports):
            refusals.define(definitions, imports)
        for name, items in imports.items():
            functions = {item: kind for item, kind in items.items() if isinstance(kind, FuncType)}
            if name.startswith(world.PACKAGE) and functions:
                extension(definitions, name, functions, self._table)
            elif functions and not name.startswith(PREFIX):
                raise missing(name, [f"this runner has nothing called {name}"])
        prepared = self._prepare(engine, linker, component, definitions, imports)
        guest = Guest(prepared, self._here, self.ticker, self._budget)
        guest.check()
        return guest

    def _prepare(
        self,
        engine: Any,
        linker: Any,
        component: Any,
        definitions: Definitions,
        imports: Collection[str],
    ) -> Prepared:
        from wasmtime.component import FuncType

        extern = component.type.exports(engine).get(world.HANDLER)
        kind = None if extern is None else extern.ty
        if not isinstance(kind, FuncType):
            reason = f"it exports no function called {world.HANDLER}"
            raise GuestFailure(Kind.SIGNATURE, _NO_HANDLER, reason=reason)
        ours, (theirs, trouble) = world.handler(), read(kind)
        complaints = [trouble]
        if theirs is not None:
            complaints = list(world.complaints(ours, theirs, we_call=True))
        if theirs is None or theirs.result is None or complaints:
            reason = f"{world.HANDLER}: {'; '.join(complaints)}"
            raise GuestFailure(
                Kind.SIGNATURE, _NOT_THE_TYPE, reason=reason, causes=(_NOT_THE_TYPE, *complaints)
            )
        return Prepared(
            engine=engine,
            linker=linker,
            component=component,
            handler=component.get_export_index(world.HANDLER),
            kept=(*definitions.kept, self._on_epoch),
            lower=lowerer(theirs.parameters[0][1]),
            lift=lifter(theirs.result, ours.result),
            wasi=any(name.startswith(PREFIX) for name in imports),
            stderr=any(name.startswith(STDERR) for name in imports),
            on_epoch=self._on_epoch,
        )

    def _epoch(self, _context: int, _data: int, ticks: Any, update: Any) -> int | None:
        """Run on the thread of a guest at each tick."""
        running = self._here.running
        words = running.tick() if running is not None else b"no call is under way"
        if words is not None:
            return abi.error_new(words)  # type: ignore[no-any-return]
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
            raise missing(name, [f"{name}: {error}"]) from None
    return found


class _TooBig(Exception):
    """A component does not fit the pool."""


def _deserialize(engine: Any, file: Path) -> Any:
    """Map the file, or read it where a mapping may not be executed (`noexec`)."""
    import wasmtime
    from wasmtime.component import Component

    try:
        return Component.deserialize_file(engine, str(file))
    except wasmtime.WasmtimeError as error:
        if POOL in str(error):
            raise _TooBig from None
    try:
        return Component.deserialize(engine, file.read_bytes())
    except wasmtime.WasmtimeError as error:
        raise Unusable(str(error)) from None


def _can_reserve(size: int) -> bool:
    """Tell whether this much address space is to be had; the engine would end the process if not.

    A limit on it, a small address space and a strict kernel all show here.
    """
    if sys.platform != "linux":
        return False
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        with mmap.mmap(-1, size, flags=flags, prot=0):
            return True
    except (OSError, ValueError, OverflowError):
        return False
