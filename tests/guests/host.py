"""A small host for guests: what the engine's own Python layer offers, one call at a time.

It is here so that a guest can be doubted without doubting the runner, and the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from wasmtime import Engine, Store, WasiConfig, WasmtimeError
from wasmtime.component import Component, Linker, Record
from wasmtime.component._types import ComponentInstanceType, FuncType

from algaenv.runner.wasm import engine_config

from .cache import BuildCache

_SHELF = BuildCache.of_this_machine()
Replies = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guest answered, and what it wrote to its channels."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    said: Mapping[str, str] = field(default_factory=dict)


def record(**fields: object) -> Record:
    """A record whose names have underscores here and dashes in WIT."""
    made = Record()
    made.__dict__.update((name.replace("_", "-"), value) for name, value in fields.items())
    return made


def call(
    guest: Path,
    *,
    method: str = "POST",
    url: str = "/x?a=b",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    replies: Replies | None = None,
) -> Answer:
    """One call in a store of its own; `replies` answer the host functions by their names.

    Raises WasmtimeError if the guest does not answer; its notes hold what it wrote to stderr.
    """
    engine, component = _loaded(guest)
    linker = _linker(engine, component, replies or {})
    store = Store(engine)
    channels = {name: os.memfd_create(name) for name in ("stdout", "stderr")}
    try:
        wasi = WasiConfig()
        wasi.stdout_file = f"/proc/self/fd/{channels['stdout']}"
        wasi.stderr_file = f"/proc/self/fd/{channels['stderr']}"
        store.set_wasi(wasi)
        store.set_wasi_http()
        store.set_limits(memory_size=256 << 20)
        handler = linker.instantiate(store, component).get_func(store, "handler")
        assert handler is not None
        try:
            said = handler(store, _request(method, url, headers or {}, body))
        except WasmtimeError as error:
            error.add_note(f"stderr: {_content(channels['stderr'])}")
            raise
        details = {name: _content(channel) for name, channel in channels.items()}
        pairs = tuple((header.name, header.value) for header in said.headers)
        return Answer(said.status, pairs, said.body, details)
    finally:
        store.close()
        for channel in channels.values():
            os.close(channel)


def imports(guest: Path) -> list[str]:
    """The names of the instances that a component imports."""
    engine, component = _loaded(guest)
    return list(component.type.imports(engine))


@cache
def _loaded(guest: Path) -> tuple[Engine, Component]:
    # What a guest does is the same in quick code, which takes half the time to compile.
    config = engine_config.config(tier=engine_config.CompileTier.QUICK)
    config.epoch_interruption = False
    config.cache = str(_SHELF.cache_of_the_engine())
    engine = Engine(config)
    # Compiled by one process of a run, and found in the engine's cache by the others.
    with _SHELF.alone(f"compile-{guest.stem}"):
        return engine, Component.from_file(engine, str(guest))


def _linker(engine: Engine, component: Component, replies: Replies) -> Linker:
    linker = Linker(engine)
    linker.add_wasip2()
    asked = component.type.imports(engine)
    if any(name.startswith("wasi:http/") for name in asked):
        linker.add_wasi_http()
    with linker.root() as root:
        for name, interface in ((name, item.ty) for name, item in asked.items()):
            if not name.startswith("alga:extension/"):
                continue
            assert isinstance(interface, ComponentInstanceType)
            with root.add_instance(name) as instance:
                for function, item in interface.exports(engine).items():
                    if isinstance(item.ty, FuncType):
                        full = f"{name.removeprefix('alga:extension/')}.{function}"
                        instance.add_func(function, replies.get(full) or _unasked(full))
    return linker


def _unasked(name: str) -> Callable[..., Any]:
    def trap(*args: object) -> None:
        raise AssertionError(f"the guest called {name}")

    return trap


def _request(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Record:
    context = record(
        request_id="r1", tenant_id="t1", extension_id="e1", install_id=None, version_id=None
    )
    pairs = [record(name=name, value=value) for name, value in headers.items()]
    return record(context=context, http=record(method=method, url=url, headers=pairs, body=body))


def _content(channel: int) -> str:
    os.lseek(channel, 0, os.SEEK_SET)
    return os.read(channel, 1 << 20).decode(errors="replace")
