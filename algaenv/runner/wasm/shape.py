"""The types of values between host and guest, as plain objects that can be compared and named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

LARGEST = 5_000
"""Types a function may be made of. Those of the world have fewer than sixty; a component may
nest records so that writing them out would take for ever."""


@dataclass(frozen=True, slots=True)
class Plain:
    """`string`, `u16`, `f64` and the like."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    """list<T>."""

    item: Shape


@dataclass(frozen=True, slots=True)
class OptionOf:
    """option<T>."""

    some: Shape


@dataclass(frozen=True, slots=True)
class ResultOf:
    """result<T, E>; either may be absent."""

    ok: Shape | None
    err: Shape | None


@dataclass(frozen=True, slots=True)
class TupleOf:
    """tuple<…>."""

    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Names as in WIT, in their order."""

    fields: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """Cases with or without something in them."""

    cases: tuple[tuple[str, Shape | None], ...]


@dataclass(frozen=True, slots=True)
class Enum:
    """One of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flags:
    """Any of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Foreign:
    """What this runner has no value for: resources, streams, futures."""

    name: str


Shape: TypeAlias = (
    Plain | ListOf | OptionOf | ResultOf | TupleOf | Record | Variant | Enum | Flags | Foreign
)


@dataclass(frozen=True, slots=True)
class Signature:
    """Of a function: its parameters in order, and what it returns."""

    parameters: tuple[tuple[str, Shape], ...]
    result: Shape | None


class TooLarge(Exception):
    """The types of a function are more than anybody would write."""


def signature(function: Any, /) -> Signature:
    """Return the signature of a `wasmtime.component.FuncType`. Raises TooLarge."""
    reader = _Reader()
    parameters = tuple((name, reader.read(kind)) for name, kind in function.params)
    result = function.result
    return Signature(parameters, None if result is None else reader.read(result))


def describe(shape: Shape | None) -> str:
    """Return the type as WIT has it, records by their fields."""
    match shape:
        case None:
            return "_"
        case Plain(name) | Foreign(name):
            return name
        case ListOf(item):
            return f"list<{describe(item)}>"
        case OptionOf(some):
            return f"option<{describe(some)}>"
        case ResultOf(ok, err):
            return f"result<{describe(ok)}, {describe(err)}>"
        case TupleOf(items):
            return f"tuple<{', '.join(map(describe, items))}>"
        case Record(fields):
            return f"record {{{', '.join(name for name, _ in fields)}}}"
        case Variant(cases):
            return f"variant {{{', '.join(name for name, _ in cases)}}}"
        case Enum(names):
            return f"enum {{{', '.join(names)}}}"
        case Flags(names):
            return f"flags {{{', '.join(names)}}}"


@dataclass(slots=True)
class _Reader:
    """Walks the types of wasmtime, which are asked from the library one by one."""

    left: int = field(default=LARGEST)

    def read(self, kind: Any) -> Shape:
        from wasmtime.component import _types as types

        self.left -= 1
        if self.left < 0:
            raise TooLarge
        match kind:
            case types.ListType():
                return ListOf(self.read(kind.element))
            case types.OptionType():
                return OptionOf(self.read(kind.payload))
            case types.ResultType():
                return ResultOf(self.read_some(kind.ok), self.read_some(kind.err))
            case types.TupleType():
                return TupleOf(tuple(map(self.read, kind.elements)))
            case types.RecordType():
                return Record(tuple((name, self.read(inner)) for name, inner in kind.fields))
            case types.VariantType():
                return Variant(tuple((name, self.read_some(i)) for name, i in kind.cases))
            case types.EnumType():
                return Enum(tuple(kind.names))
            case types.FlagsType():
                return Flags(tuple(kind.names))
            case types.OwnType() | types.BorrowType():
                return Foreign("resource")
            case types.FutureType() | types.StreamType() | types.ErrorContext():
                return Foreign(type(kind).__name__.removesuffix("Type").lower())
            case _:
                return Plain(type(kind).__name__.lower())

    def read_some(self, kind: Any) -> Shape | None:
        return None if kind is None else self.read(kind)
