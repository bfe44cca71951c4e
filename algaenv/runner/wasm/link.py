"""What a component imports, defined by the host functions that the table has.

A component gets the functions it asks for and nothing else. Lifters and lowerers follow its own
types, so that one built for another copy of the world works wherever our values fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import string_at
from dataclasses import dataclass, field
from typing import Any

from algaenv.runner.invocation import HostFunction, HostTable
from algaenv.runner.wasm import abi, world
from algaenv.runner.wasm.failure import GuestFailure, Kind
from algaenv.runner.wasm.lift import cut_text, lifter
from algaenv.runner.wasm.lower import Arena, lowerer
from algaenv.runner.wasm.running import Callback, Here
from algaenv.runner.wasm.shape import Signature, TooLarge, signature
from algaenv.runner.wasm.values import Err

LOGGING = "logging."
LOG_BYTES = 1024 * 1024
"""That are read of one message to the log, which takes 8,192 characters; the debug stream may be
told to take more."""

NOT_FOUND = (
    "component imports instance `{name}`, but a matching implementation was not found in the linker"
)


@dataclass(slots=True)
class Definitions:
    """Adds definitions to a linker; `kept` must live as long as that does."""

    linker: Any
    here: Here
    kept: list[object] = field(default_factory=list)

    def add(self, interface: str, functions: Mapping[str, Callback]) -> None:
        """Define an interface of functions."""
        with self.linker.root() as root, root.add_instance(interface) as instance:
            for name, callback in functions.items():
                self.add_function(instance, name, callback)

    def add_function(self, instance: Any, name: str, callback: Callback) -> None:
        """Define a function of an open interface."""
        pointer = abi.HOST_FUNCTION(callback)
        self.kept.append(pointer)
        text = name.encode()
        error = abi.add_func(abi.address(instance.ptr()), text, len(text), pointer, None, None)
        if error:
            raise RuntimeError(abi.take_error(error)[0])


def extension(definitions: Definitions, name: str, functions: Any, table: HostTable) -> None:
    """Define an import of the world.

    `functions`: its types by name. Raises GuestFailure (link) with all that does not fit.
    """
    interface = name.removeprefix(world.PACKAGE)
    known, ours = world.imports().get(interface), table.get(interface, {})
    if known is None:
        raise missing(name, [f"this runner has no interface {name}"])
    complaints: list[str] = []
    made: dict[str, Callback] = {}
    for function, kind in functions.items():
        if function not in known or function not in ours:
            complaints.append(f"{name} has no function {function}")
            continue
        theirs, trouble = read(kind)
        if theirs is None:
            complaints.append(f"{name} {function}: {trouble}")
            continue
        found = list(world.complaints(known[function], theirs, we_call=False))
        complaints += [f"{name} {function}: {words}" for words in found]
        if not found:
            where = f"{interface}.{function}"
            try:
                made[function] = _callback(
                    definitions.here, where, ours[function], theirs, known[function]
                )
            except TypeError as error:
                complaints.append(f"{name} {function}: {error}")
    if complaints:
        raise missing(name, complaints)
    if made:
        definitions.add(name, made)


def read(kind: Any) -> tuple[Signature | None, str]:
    """Return the signature of a function, or why there is none."""
    try:
        return signature(kind), ""
    except TooLarge:
        return None, "its types are too large"
    except TypeError as error:
        return None, str(error)


def missing(name: str, complaints: list[str]) -> GuestFailure:
    """Return the failure of a component that imports what is not there."""
    message = NOT_FOUND.format(name=name)
    return GuestFailure(
        Kind.LINK, message, reason="; ".join(complaints), causes=(message, *complaints)
    )


def _callback(
    here: Here, where: str, function: HostFunction, theirs: Signature, ours: Signature
) -> Callback:
    """Return what the engine calls when a guest calls a host function."""
    # A long line would be copied and decoded while everybody else waits, only to be cut then.
    says = where.startswith(LOGGING)
    lifts = [
        (cut_text(LOG_BYTES) if says else lifter(shape, wanted), place * abi.VALUE)
        for place, ((_, shape), (_, wanted)) in enumerate(
            zip(theirs.parameters, ours.parameters, strict=True)
        )
    ]
    size = len(lifts) * abi.VALUE
    lower = None if theirs.result is None else lowerer(theirs.result)
    head, clone, clone_much = abi.BYTES_HEAD, abi.clone, abi.clone_much

    def callback(
        _data: int, _context: int, _type: int, given: int, _count: int, results: int, _one: int
    ) -> int | None:
        running = here.running
        if running is None:
            return abi.error_new(b"no call is under way")  # type: ignore[no-any-return]
        try:
            raw = string_at(given, size) if size else b""
            invocation = running.invocation
            invocation.why = ""
            value = function(invocation, *[lift(raw, place) for lift, place in lifts])
            invocation.asked = (where, value.value if type(value) is Err else None)
            if lower is not None:
                arena = Arena()
                made = lower(value, arena)
                (clone_much if arena.much else clone)(id(made) + head, results)
        except BaseException as error:
            return abi.error_new(running.fail(error, where))  # type: ignore[no-any-return]
        return None

    return callback
