"""From values of the engine to Python: functions made once for a type, then called often.

A lifter takes the bytes of a value and where it begins in them. Nothing is freed here: the engine
owns what a value points to, and only lends it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ctypes import string_at
from typing import Any, TypeAlias

from algaenv.runner.wasm.abi import ENTRY, SLICE, VALUE
from algaenv.runner.wasm.wit import (
    Enum,
    Err,
    Flags,
    ListOf,
    OptionOf,
    Primitive,
    Record,
    ResultOf,
    TupleOf,
    UnsupportedType,
    Variant,
    WitType,
)

Lifter: TypeAlias = Callable[[bytes, int], Any]

_NUMBERS = {
    "u8": "B", "s8": "b", "u16": "H", "s16": "h", "u32": "I", "s32": "i",
    "u64": "Q", "s64": "q", "f32": "f", "f64": "d",
}  # fmt: skip

_vector = struct.Struct("<QQ").unpack_from
_pointer = struct.Struct("<Q").unpack_from
_character = struct.Struct("<I").unpack_from


def lifter(shape: WitType, wanted: WitType | None = None) -> Lifter:
    """Return the lifter of a type. Fields of `wanted` records that `shape` lacks become None.

    Raises TypeError for types without values, which no function of the world has.
    """
    match shape:
        case Primitive(name):
            return _plain(name)
        case Enum():
            return _text
        case ListOf(Primitive("u8")):
            return _bytes
        case ListOf(item):
            return _list(lifter(item, wanted.item if isinstance(wanted, ListOf) else None))
        case OptionOf(some):
            return _option(lifter(some, wanted.some if isinstance(wanted, OptionOf) else wanted))
        case ResultOf(ok, err):
            known = wanted if isinstance(wanted, ResultOf) else ResultOf(None, None)
            return _result(_if_any(ok, known.ok), _if_any(err, known.err))
        case TupleOf(items):
            inner = wanted.items if isinstance(wanted, TupleOf) else (None,) * len(items)
            return _tuple([lifter(*pair) for pair in zip(items, inner, strict=True)])
        case Record():
            return _record(shape, wanted)
        case Variant(cases):
            return _variant({name: _if_any(inner) for name, inner in cases})
        case Flags():
            return _flags
        case UnsupportedType(name):
            raise TypeError(f"no value of {name} can be passed")


def _if_any(shape: WitType | None, wanted: WitType | None = None) -> Lifter | None:
    return None if shape is None else lifter(shape, wanted)


def _plain(name: str) -> Lifter:
    if name == "string":
        return _text
    if name == "bool":
        return lambda raw, at: raw[at + 8] != 0
    if name == "char":
        return lambda raw, at: chr(_character(raw, at + 8)[0])
    read = struct.Struct("<" + _NUMBERS[name]).unpack_from
    return lambda raw, at: read(raw, at + 8)[0]


def _text(raw: bytes, at: int) -> str:
    size, start = _vector(raw, at + 8)
    return string_at(start, size).decode() if size else ""


def truncated_text(most: int) -> Lifter:
    """A lifter of text that reads `most` bytes of it; a character that is cut is left out."""

    def lift(raw: bytes, at: int) -> str:
        size, start = _vector(raw, at + 8)
        if size <= most:
            return string_at(start, size).decode() if size else ""
        return string_at(start, most).decode(errors="ignore")

    return lift


def _bytes(raw: bytes, at: int) -> bytes:
    size, start = _vector(raw, at + 8)
    if size <= SLICE:
        return string_at(start, size * VALUE)[8::VALUE] if size else b""
    return b"".join(
        [
            string_at(start + first * VALUE, min(SLICE, size - first) * VALUE)[8::VALUE]
            for first in range(0, size, SLICE)
        ]
    )


def _list(item: Lifter) -> Lifter:
    def lift(raw: bytes, at: int) -> list[Any]:
        size, start = _vector(raw, at + 8)
        if not size:
            return []
        items = string_at(start, size * VALUE)
        return [item(items, place) for place in range(0, size * VALUE, VALUE)]

    return lift


def _option(some: Lifter) -> Lifter:
    def lift(raw: bytes, at: int) -> Any:
        (start,) = _pointer(raw, at + 8)
        return some(string_at(start, VALUE), 0) if start else None

    return lift


def _result(ok: Lifter | None, err: Lifter | None) -> Lifter:
    def lift(raw: bytes, at: int) -> Any:
        (start,) = _pointer(raw, at + 16)
        fine = raw[at + 8] != 0
        inner = ok if fine else err
        value = inner(string_at(start, VALUE), 0) if inner and start else None
        return value if fine else Err(value)

    return lift


def _tuple(items: list[Lifter]) -> Lifter:
    places = [(item, place * VALUE) for place, item in enumerate(items)]
    length = len(items) * VALUE

    def lift(raw: bytes, at: int) -> tuple[Any, ...]:
        values = string_at(_pointer(raw, at + 16)[0], length)
        return tuple([item(values, place) for item, place in places])

    return lift


def _record(shape: Record, wanted: WitType | None) -> Lifter:
    while isinstance(wanted, OptionOf):
        wanted = wanted.some
    known = dict(wanted.fields) if isinstance(wanted, Record) else {}
    places = [
        (name.replace("-", "_"), lifter(inner, known.pop(name, None)), ENTRY * place + 16)
        for place, (name, inner) in enumerate(shape.fields)
    ]
    absent = dict.fromkeys(name.replace("-", "_") for name in known)
    length = len(places) * ENTRY

    def lift(raw: bytes, at: int) -> dict[str, Any]:
        fields = string_at(_pointer(raw, at + 16)[0], length)
        return {name: inner(fields, place) for name, inner, place in places}

    def lift_less(raw: bytes, at: int) -> dict[str, Any]:
        return lift(raw, at) | absent

    return lift_less if absent else lift


def _variant(cases: dict[str, Lifter | None]) -> Lifter:
    def lift(raw: bytes, at: int) -> tuple[str, Any]:
        name = _text(raw, at)
        (start,) = _pointer(raw, at + 24)
        inner = cases[name]
        return name, inner(string_at(start, VALUE), 0) if inner and start else None

    return lift


def _flags(raw: bytes, at: int) -> frozenset[str]:
    size, start = _vector(raw, at + 8)
    names = string_at(start, size * 16) if size else b""
    found = [_vector(names, place) for place in range(0, size * 16, 16)]
    return frozenset([string_at(first, length).decode() for length, first in found])
