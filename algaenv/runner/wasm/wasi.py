"""WASI for guests of other tool chains: linked, with nothing granted.

`wasi:http` would let a guest call anybody, past the egress list. Tool chains import it whether a
guest uses it or not, so it is linked too: each of its functions ends the guest with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algaenv.runner.wasm import abi
from algaenv.runner.wasm.link import Definitions
from algaenv.runner.wasm.running import Callback, Here, refusal

PREFIX = "wasi:"
HTTP = "wasi:http/"
STDERR = "wasi:cli/stderr"

_LENT = {
    "error": "wasi:io/error@0.2.0",
    "input-stream": "wasi:io/streams@0.2.0",
    "output-stream": "wasi:io/streams@0.2.0",
    "pollable": "wasi:io/poll@0.2.0",
}
"""Resources that `wasi:http` names but does not define."""

Items = Mapping[str, Any]
"""The types of what an interface holds, by name."""


class Refusals:
    """Defines `wasi:http` for components of one engine."""

    def __init__(self, engine: Any, here: Here) -> None:
        self._engine, self._here = engine, here
        self._lent: dict[str, Any] = {}

    def define(self, definitions: Definitions, imports: Mapping[str, Items]) -> None:
        """Define each interface of `wasi:http` among the imports of a component.

        Its resources are never made, but one interface must name the same type as another where
        the component says so.
        """
        from wasmtime.component import FuncType, ResourceType

        known = self._known(imports)
        for name, items in imports.items():
            if not name.startswith(HTTP):
                continue
            with definitions.linker.root() as root, root.add_instance(name) as instance:
                for item, kind in items.items():
                    if isinstance(kind, FuncType):
                        definitions.add_function(instance, item, self._refusing(name))
                    elif isinstance(kind, ResourceType):
                        made = next((made for theirs, made in known if theirs == kind), None)
                        if made is None:
                            made = ResourceType.host(len(known))
                            known.append((kind, made))
                        _add_resource(definitions, instance, item, made)

    def _known(self, imports: Mapping[str, Items]) -> list[tuple[Any, Any]]:
        """Return the resources of `wasi:io` as the component names them and as they are."""
        if not self._lent:
            self._lent = _lent_resources(self._engine)
        return [
            (imports[name][item], made)
            for item, made in self._lent.items()
            for name in imports
            if name.partition("@")[0] == _LENT[item].partition("@")[0] and item in imports[name]
        ]

    def _refusing(self, name: str) -> Callback:
        def callback(*_: int) -> int | None:
            running = self._here.running
            words = running.fail(refusal(name), name) if running else name.encode()
            return abi.error_new(words)  # type: ignore[no-any-return]

        return callback


def _add_resource(definitions: Definitions, instance: Any, item: str, kind: Any) -> None:
    pointer = abi.DESTRUCTOR(lambda *_: None)
    definitions.kept += [pointer, kind]
    text, place = item.encode(), abi.address(instance.ptr())
    error = abi.add_resource(place, text, len(text), abi.address(kind.ptr()), pointer, None, None)
    if error:
        raise RuntimeError(abi.take_error(error)[0])


def _lent_resources(engine: Any) -> dict[str, Any]:
    """Return the types that the engine's WASI has given these resources.

    They can be had from the type of a function of an instance only; so here is a component with a
    function that would take one of each, and is never called.
    """
    import wasmtime
    from wasmtime.component import Component, Linker

    linker = Linker(engine)
    linker.add_wasip2()
    with wasmtime.Store(engine) as store:
        store.set_wasi(wasmtime.WasiConfig())
        store.set_epoch_deadline(1)
        instance = linker.instantiate(store, Component(engine, _taker()))
        function = instance.get_func(store, "take")
        if function is None:
            raise RuntimeError("the engine lost an export")
        with function.type(store) as kind:
            return {name: taken.ty for name, taken in kind.params}


def _taker() -> str:
    """Return the text of a component that exports a function taking every lent resource."""
    imports, aliases = [], []
    interfaces: dict[str, list[str]] = {}
    for item, interface in _LENT.items():
        interfaces.setdefault(interface, []).append(item)
    for place, (interface, items) in enumerate(interfaces.items()):
        exports = " ".join(f'(export "{item}" (type (sub resource)))' for item in items)
        imports.append(f'(import "{interface}" (instance $i{place} {exports}))')
        aliases += [f'(alias export $i{place} "{item}" (type ${item}))' for item in items]
    parameters = [f'(param "{item}" (own ${item}))' for item in _LENT]
    names = "\n".join(imports + aliases)
    core = " ".join(["i32"] * len(_LENT))
    return f"""(component
        {names}
        (core module $m (func (export "take") (param {core})))
        (core instance $c (instantiate $m))
        (func (export "take") {" ".join(parameters)} (canon lift (core func $c "take")))
    )"""
