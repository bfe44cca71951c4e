"""What a test of the engine needs around a guest: a host, invocations, and compiled files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algaenv.runner.execute.invocation import HostFunctions, Invocation, Level, Stream, Waiter
from algaenv.runner.wasm import engine_config, wit
from algaenv.runner.wasm.guest import Guest, GuestLoader
from tests.guests.native import native_code

MEGABYTE = 1 << 20
MEMORY = 256 * MEGABYTE
WHO = {
    "request_id": "r-1",
    "tenant_id": "t",
    "extension_id": "e",
    "install_id": None,
    "version_id": "v",
}


@dataclass(slots=True)
class RecordedOutput:
    """A listener that keeps what it heard."""

    heard_: list[tuple[Stream, Level, str]] = field(default_factory=list)

    def write(self, invocation: Invocation, stream: Stream, level: Level, message: str) -> None:
        self.heard_.append((stream, level, message))


def no_wait(work: Any) -> Any:
    work.close()
    raise AssertionError("nothing here waits")


def invocation(
    *,
    seconds: float = 20.0,
    wait: Waiter = no_wait,
    token: str = "r-1",
    output: RecordedOutput | None = None,
) -> Invocation:
    return Invocation(
        request_id=token,
        tenant="t",
        extension="e",
        install=None,
        version=None,
        capabilities=frozenset(),
        secrets=None,
        user=None,
        deadline=time.monotonic() + seconds,
        wait=wait,
        listener=output or RecordedOutput(),
    )


def request(body: bytes | None = None, **who: str | None) -> dict[str, Any]:
    headers = [{"name": "accept", "value": "*/*"}]
    http = {"method": "POST", "url": "/x?a=b", "headers": headers, "body": body}
    return {"context": WHO | who, "http": http}


def table(**functions: Callable[..., object]) -> HostFunctions:
    """All functions of the world; those not given as `interface__function` must not be called."""

    def unasked(*_: object) -> object:
        raise AssertionError("not asked for")

    given = {name.replace("_", "-"): function for name, function in functions.items()}
    return {
        interface: {name: given.get(f"{interface}--{name}", unasked) for name in names}
        for interface, names in wit.world_imports().items()
    }


class ComponentCompiler:
    """Compiles, once for all tests, into a folder."""

    def __init__(self, folder: Path, tier: engine_config.CompileTier) -> None:
        self._folder, self._tier = folder, tier
        self._made: dict[bytes, Path] = {}

    def compiled(self, source: str | bytes | Path) -> Path:
        """The native code of a text, a component or the file of a guest, which a machine keeps."""
        if isinstance(source, Path):
            return native_code(source)
        from wasmtime import Engine, wat2wasm
        from wasmtime.component import Component

        data = bytes(wat2wasm(source)) if isinstance(source, str) else source
        if data not in self._made:
            file = self._folder / f"{len(self._made)}.cwasm"
            engine = Engine(engine_config.config(tier=self._tier))
            file.write_bytes(Component(engine, data).serialize())
            self._made[data] = file
        return self._made[data]

    def load(self, guests: GuestLoader, source: str | bytes | Path) -> Guest:
        return guests.load(self.compiled(source))
