"""The imports of a component, defined by the host functions that the table has.

A component gets the functions it asks for and nothing else. Lifters and lowerers follow its own
types, so a component built for another version of the world works wherever our values fit.

WASI is linked for guests of other tool chains, with nothing granted. `wasi:http` would let a guest
call any host, past the egress list. Tool chains import it whether a guest uses it or not, so it is
linked too: each of its functions ends the guest with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import string_at
from dataclasses import dataclass, field
from typing import Any

from algaenv.runner.execute.invocation import HostFunction, HostFunctions, Invocation
from algaenv.runner.wasm import abi, wit
from algaenv.runner.wasm.active_call import Callback, ThreadContext, denied_failure
from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from algaenv.runner.wasm.lift import lifter, truncated_text
from algaenv.runner.wasm.lower import Arena, lowerer
from algaenv.runner.wasm.wit import Err, Signature, TypeTooLarge, signature

LOGGING = "logging."
LOG_BYTES = 1024 * 1024
"""That are read of one message to the log, which takes 8,192 characters; the debug stream may be
configured to take more."""

NOT_FOUND = (
    "component imports instance `{name}`, but a matching implementation was not found in the linker"
)


@dataclass(slots=True)
class LinkerDefinitions:
    """Adds definitions to a linker; `keep_alive` must live as long as that does."""

    linker: Any
    thread_context: ThreadContext
    keep_alive: list[object] = field(default_factory=list)

    def add(self, interface: str, functions: Mapping[str, Callback]) -> None:
        """Define an interface of functions."""
        with self.linker.root() as root, root.add_instance(interface) as instance:
            for name, callback in functions.items():
                self.add_function(instance, name, callback)

    def add_function(self, instance: Any, name: str, callback: Callback) -> None:
        """Define a function of an open interface."""
        pointer = abi.HOST_FUNCTION(callback)
        self.keep_alive.append(pointer)
        text = name.encode()
        error = abi.add_func(abi.address(instance.ptr()), text, len(text), pointer, None, None)
        if error:
            raise RuntimeError(abi.take_error(error)[0])


def define_extension(
    definitions: LinkerDefinitions, name: str, functions: Any, table: HostFunctions
) -> None:
    """Define an import of the world.

    `functions`: its types by name. Raises GuestFailure (link) with all that does not fit.
    """
    interface = name.removeprefix(wit.PACKAGE)
    known, offered = wit.world_imports().get(interface), table.get(interface, {})
    _define(definitions, name, functions, known, offered)


def define_shell(definitions: LinkerDefinitions, functions: Any) -> None:
    """Define what the shell imports beside the world. Raises as `define_extension` does."""
    _define(definitions, wit.SHELL, functions, wit.shell_imports(), {"source": _script_text})


def _script_text(invocation: Invocation) -> str:
    if invocation.script is None:
        raise GuestFailure(FailureKind.HOST, "there is no script", reason="the call has no script")
    return invocation.script.text


def _define(
    definitions: LinkerDefinitions,
    name: str,
    functions: Any,
    known: Mapping[str, Signature] | None,
    offered: Mapping[str, HostFunction],
) -> None:
    interface = name.removeprefix(wit.PACKAGE)
    if known is None:
        raise link_failure(name, [f"this runner has no interface {name}"])
    problems: list[str] = []
    made: dict[str, Callback] = {}
    for function, kind in functions.items():
        if function not in known or function not in offered:
            problems.append(f"{name} has no function {function}")
            continue
        imported, problem = read_signature(kind)
        if imported is None:
            problems.append(f"{name} {function}: {problem}")
            continue
        found = list(wit.mismatches(known[function], imported, host_calls=False))
        problems += [f"{name} {function}: {message}" for message in found]
        if not found:
            where = f"{interface}.{function}"
            try:
                made[function] = _callback(
                    definitions.thread_context, where, offered[function], imported, known[function]
                )
            except TypeError as error:
                problems.append(f"{name} {function}: {error}")
    if problems:
        raise link_failure(name, problems)
    if made:
        definitions.add(name, made)


def read_signature(kind: Any) -> tuple[Signature | None, str]:
    """Return the signature of a function, or why there is none."""
    try:
        return signature(kind), ""
    except TypeTooLarge:
        return None, "its types are too large"
    except TypeError as error:
        return None, str(error)


def link_failure(name: str, problems: list[str]) -> GuestFailure:
    """Return the failure of a component that imports what is not there."""
    message = NOT_FOUND.format(name=name)
    return GuestFailure(
        FailureKind.LINK, message, reason="; ".join(problems), causes=(message, *problems)
    )


def _callback(
    thread_context: ThreadContext,
    where: str,
    function: HostFunction,
    imported: Signature,
    offered: Signature,
) -> Callback:
    """Return what the engine calls when a guest calls a host function."""
    # A long line would be copied and decoded while everybody else waits, only to be cut then.
    is_log = where.startswith(LOGGING)
    # What the shell asks for is no call that the author knows of.
    is_private = where.startswith(wit.SHELL)
    # A message to the log is told as what it is.
    is_unseen = is_private or is_log
    lifts = [
        (truncated_text(LOG_BYTES) if is_log else lifter(shape, wanted), place * abi.VALUE)
        for place, ((_, shape), (_, wanted)) in enumerate(
            zip(imported.parameters, offered.parameters, strict=True)
        )
    ]
    size = len(lifts) * abi.VALUE
    lower = None if imported.result is None else lowerer(imported.result)
    head, clone, clone_much = abi.BYTES_HEAD, abi.clone, abi.clone_large

    def callback(
        _data: int, _context: int, _type: int, given: int, _count: int, results: int, _one: int
    ) -> int | None:
        call = thread_context.call
        if call is None:
            return abi.error_new(b"no call is under way")  # type: ignore[no-any-return]
        try:
            raw = string_at(given, size) if size else b""
            invocation = call.invocation
            invocation.reason = ""
            arguments = [lift(raw, place) for lift, place in lifts]
            trace = None if is_unseen else invocation.trace
            if trace is not None:
                trace.begin(where)
            value = function(invocation, *arguments)
            if not is_private:
                error = value.value if type(value) is Err else None
                invocation.last_host_call = (where, error)
                if trace is not None:
                    trace.end(arguments, value if error is None else error, error)
            if lower is not None:
                arena = Arena()
                made = lower(value, arena)
                (clone_much if arena.is_large else clone)(id(made) + head, results)
        except BaseException as error:
            if call.invocation.trace is not None:
                call.invocation.trace.end((), None, "ended the call")
            return abi.error_new(call.fail(error, where))  # type: ignore[no-any-return]
        return None

    return callback


PREFIX = "wasi:"
HTTP = "wasi:http/"
STDERR = "wasi:cli/stderr"

_WASI_IO_RESOURCES = {
    "error": "wasi:io/error@0.2.0",
    "input-stream": "wasi:io/streams@0.2.0",
    "output-stream": "wasi:io/streams@0.2.0",
    "pollable": "wasi:io/poll@0.2.0",
}
"""Resources that `wasi:http` names but does not define."""

Items = Mapping[str, Any]
"""The types of what an interface holds, by name."""


class WasiHttpStubs:
    """Defines `wasi:http` for components of one engine."""

    def __init__(self, engine: Any, thread_context: ThreadContext) -> None:
        self._engine, self._thread_context = engine, thread_context
        self._wasi_resources: dict[str, Any] = {}

    def define(self, definitions: LinkerDefinitions, imports: Mapping[str, Items]) -> None:
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
                        made = next((made for imported, made in known if imported == kind), None)
                        if made is None:
                            made = ResourceType.host(len(known))
                            known.append((kind, made))
                        _add_resource(definitions, instance, item, made)

    def _known(self, imports: Mapping[str, Items]) -> list[tuple[Any, Any]]:
        """Return the resources of `wasi:io` as the component names them and as they are."""
        if not self._wasi_resources:
            self._wasi_resources = _wasi_io_resources(self._engine)
        return [
            (imports[name][item], made)
            for item, made in self._wasi_resources.items()
            for name in imports
            if name.partition("@")[0] == _WASI_IO_RESOURCES[item].partition("@")[0]
            and item in imports[name]
        ]

    def _refusing(self, name: str) -> Callback:
        def callback(*_: int) -> int | None:
            call = self._thread_context.call
            message = call.fail(denied_failure(name), name) if call else name.encode()
            return abi.error_new(message)  # type: ignore[no-any-return]

        return callback


def _add_resource(definitions: LinkerDefinitions, instance: Any, item: str, kind: Any) -> None:
    pointer = abi.DESTRUCTOR(lambda *_: None)
    definitions.keep_alive += [pointer, kind]
    text, place = item.encode(), abi.address(instance.ptr())
    error = abi.add_resource(place, text, len(text), abi.address(kind.ptr()), pointer, None, None)
    if error:
        raise RuntimeError(abi.take_error(error)[0])


def _wasi_io_resources(engine: Any) -> dict[str, Any]:
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
        instance = linker.instantiate(store, Component(engine, _resource_taker()))
        function = instance.get_func(store, "take")
        if function is None:
            raise RuntimeError("the engine lost an export")
        with function.type(store) as kind:
            return {name: taken.ty for name, taken in kind.params}


def _resource_taker() -> str:
    """Return the text of a component that exports a function taking every lent resource."""
    imports, aliases = [], []
    interfaces: dict[str, list[str]] = {}
    for item, interface in _WASI_IO_RESOURCES.items():
        interfaces.setdefault(interface, []).append(item)
    for place, (interface, items) in enumerate(interfaces.items()):
        exports = " ".join(f'(export "{item}" (type (sub resource)))' for item in items)
        imports.append(f'(import "{interface}" (instance $i{place} {exports}))')
        aliases += [f'(alias export $i{place} "{item}" (type ${item}))' for item in items]
    parameters = [f'(param "{item}" (own ${item}))' for item in _WASI_IO_RESOURCES]
    names = "\n".join(imports + aliases)
    core = " ".join(["i32"] * len(_WASI_IO_RESOURCES))
    return f"""(component
        {names}
        (core module $m (func (export "take") (param {core})))
        (core instance $c (instantiate $m))
        (func (export "take") {" ".join(parameters)} (canon lift (core func $c "take")))
    )"""
