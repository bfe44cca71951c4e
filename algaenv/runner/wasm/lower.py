"""From Python to values of the engine: functions made once for a type, then called often.

A lowerer returns the 32 bytes of a value. What these point to is kept in an Arena of Python
objects, so that there is nothing to free when a value turns out not to fit half way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ctypes import addressof, c_char
from mmap import mmap
from typing import Any, TypeAlias

from algaenv.runner.wasm.abi import BYTES_HEAD, KINDS, SLICE, VALUE
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
    describe,
)

_INTEGERS = {
    f"{sign}{bits}": (0, 2**bits - 1) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in "us"
    for bits in (8, 16, 32, 64)
}

_vector = struct.Struct("<QQ").pack
_with_vector = struct.Struct("<B7xQQ8x").pack
_with_result = struct.Struct("<B7xB7xQ8x").pack
_with_variant = struct.Struct("<B7xQQQ").pack
_with_unsigned = struct.Struct("<B7xQ16x").pack
_with_signed = struct.Struct("<B7xq16x").pack


class ConversionError(Exception):
    """A value of Python is not one of the type. Says where in it and why, never the value."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path: list[str] = []
        super().__init__(reason)

    def within(self, name: str) -> ConversionError:
        """Return the same, seen from one step further out."""
        self.path.insert(0, name)
        return self

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.reason}" if self.path else self.reason


class Arena(list[object]):
    """Keeps alive what values point to."""

    __slots__ = ("is_large",)

    def __init__(self) -> None:
        self.is_large = False
        """Whether it takes a while to copy."""

    def keep(self, data: bytes) -> int:
        """Keep bytes; return where they are."""
        self.append(data)
        return id(data) + BYTES_HEAD


Lowerer: TypeAlias = Callable[[Any, Arena], bytes]


def lowerer(shape: WitType) -> Lowerer:
    """Return the lowerer of a type. Raises TypeError for types without values.

    The lowerer raises ConversionError.
    """
    match shape:
        case Primitive(name):
            return _plain(name)
        case Enum(names):
            return _enum(names)
        case ListOf(Primitive("u8")):
            return _bytes
        case ListOf(item):
            return _list(lowerer(item))
        case OptionOf(some):
            return _option(lowerer(some))
        case ResultOf(ok, err):
            return _result(_if_any(ok), _if_any(err))
        case TupleOf(items):
            return _tuple([lowerer(item) for item in items])
        case Record():
            return _record(shape)
        case Variant(cases):
            return _variant({name: _if_any(inner) for name, inner in cases})
        case Flags(names):
            return _flags(frozenset(names))
        case UnsupportedType():
            raise TypeError(f"no value of {describe(shape)} can be passed")


def _if_any(shape: WitType | None) -> Lowerer | None:
    return None if shape is None else lowerer(shape)


def _plain(name: str) -> Lowerer:
    kind = KINDS[name]
    if name in _INTEGERS:
        return _integer(name)
    match name:
        case "string":
            return _string
        case "bool":
            both = (_with_unsigned(kind, 0), _with_unsigned(kind, 1))

            def lower_bool(value: Any, _: Arena) -> bytes:
                if value is not True and value is not False:
                    raise _conversion_error("bool", value)
                return both[value]

            return lower_bool
        case "char":
            return _char
        case _:
            return _float(name)


def _integer(name: str) -> Lowerer:
    kind, (least, most) = KINDS[name], _INTEGERS[name]
    pack = _with_unsigned if least == 0 else _with_signed

    def lower(value: Any, _: Arena) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _conversion_error(name, value)
        if not least <= value <= most:
            raise ConversionError(f"a {name} is from {least} to {most}")
        return pack(kind, value)

    return lower


def _float(name: str) -> Lowerer:
    kind = KINDS[name]
    pack = struct.Struct("<B7xd16x" if name == "f64" else "<B7xf20x").pack

    def lower(value: Any, _: Arena) -> bytes:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _conversion_error(name, value)
        try:
            return pack(kind, value)
        except (OverflowError, struct.error):
            raise ConversionError(f"the number is too large for {name}") from None

    return lower


def _char(value: Any, _: Arena) -> bytes:
    if not isinstance(value, str) or len(value) != 1 or "\ud800" <= value <= "\udfff":
        raise _conversion_error("char", value)
    return _with_unsigned(KINDS["char"], ord(value))


def encode(text: str) -> bytes:
    """Return UTF-8, with U+FFFD for each half of a surrogate pair that stands alone."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _string(value: Any, arena: Arena, kind: int = KINDS["string"]) -> bytes:
    if not isinstance(value, str):
        raise _conversion_error("string", value)
    data = encode(value)
    arena.append(data)
    return _with_vector(kind, len(data), id(data) + BYTES_HEAD)


def _enum(names: tuple[str, ...]) -> Lowerer:
    texts = {name: name.encode() for name in names}
    made = {
        name: _with_vector(KINDS["enum"], len(text), id(text) + BYTES_HEAD)
        for name, text in texts.items()
    }

    def lower(value: Any, _: Arena, _keep: object = texts) -> bytes:
        try:
            return made[value]
        except (KeyError, TypeError):
            raise ConversionError(f"must be one of {', '.join(names)}") from None

    return lower


def _bytes(value: Any, arena: Arena) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _conversion_error("list<u8>", value)
    size = len(value)
    if not size:
        return _with_vector(KINDS["list"], 0, 0)
    # Many zeros come page by page from the kernel, not all at once with the lock held.
    values = bytearray(VALUE * size) if size <= SLICE else mmap(-1, VALUE * size)
    kinds = bytes((KINDS["u8"],)) * min(size, SLICE)
    for first in range(0, size, SLICE):
        last = min(size, first + SLICE)
        values[first * VALUE : last * VALUE : VALUE] = kinds[: last - first]
        values[first * VALUE + 8 : last * VALUE : VALUE] = value[first:last]
    arena.is_large |= size > SLICE
    start = c_char.from_buffer(values)
    arena.append(start)
    return _with_vector(KINDS["list"], size, addressof(start))


def _list(item: Lowerer) -> Lowerer:
    def lower(value: Any, arena: Arena) -> bytes:
        if not isinstance(value, list | tuple):
            raise _conversion_error("list", value)
        values: list[bytes] = []
        try:
            for one in value:
                values.append(item(one, arena))
        except ConversionError as error:
            raise error.within(f"[{len(values)}]") from None
        arena.is_large |= len(values) > SLICE
        return _with_vector(KINDS["list"], len(values), arena.keep(b"".join(values)))

    return lower


def _option(some: Lowerer) -> Lowerer:
    kind = KINDS["option"]
    none = _with_unsigned(kind, 0)

    def lower(value: Any, arena: Arena) -> bytes:
        if value is None:
            return none
        inner = some(value, arena)
        arena.append(inner)
        return _with_unsigned(kind, id(inner) + BYTES_HEAD)

    return lower


def _result(ok: Lowerer | None, err: Lowerer | None) -> Lowerer:
    def lower(value: Any, arena: Arena) -> bytes:
        fine = not isinstance(value, Err)
        inner = ok if fine else err
        held = value if fine else value.value
        if inner is not None:
            return _with_result(KINDS["result"], fine, arena.keep(inner(held, arena)))
        if held is not None:
            raise _conversion_error("nothing", held)
        return _with_result(KINDS["result"], fine, 0)

    return lower


def _tuple(items: list[Lowerer]) -> Lowerer:
    def lower(value: Any, arena: Arena) -> bytes:
        if not isinstance(value, tuple | list) or len(value) != len(items):
            raise _conversion_error(f"tuple of {len(items)}", value)
        values = b"".join([item(one, arena) for item, one in zip(items, value, strict=True)])
        return _with_vector(KINDS["tuple"], len(items), arena.keep(values))

    return lower


def _record(shape: Record) -> Lowerer:
    texts = [name.encode() for name, _ in shape.fields]
    fields = [
        (name.replace("-", "_"), _vector(len(text), id(text) + BYTES_HEAD), lowerer(inner))
        for text, (name, inner) in zip(texts, shape.fields, strict=True)
    ]
    count, kind = len(fields), KINDS["record"]

    def lower(value: Any, arena: Arena, _keep: object = texts) -> bytes:
        if not isinstance(value, dict):
            raise _conversion_error("record", value)
        get = value.get
        try:
            entries = b"".join([name + inner(get(key), arena) for key, name, inner in fields])
        except ConversionError as error:
            raise error.within(_culprit(value)) from None
        arena.append(entries)
        return _with_vector(kind, count, id(entries) + BYTES_HEAD)

    def _culprit(value: dict[str, Any]) -> str:
        for key, _, inner in fields:
            try:
                inner(value.get(key), Arena())
            except ConversionError:
                return key
        return "?"

    return lower


def _variant(cases: dict[str, Lowerer | None]) -> Lowerer:
    names = {name: name.encode() for name in cases}

    def lower(value: Any, arena: Arena) -> bytes:
        match value:
            case (str(name), held) if name in cases:
                inner, text = cases[name], names[name]
            case _:
                raise ConversionError(
                    f"must be a pair of one of {', '.join(cases)} and what it holds"
                )
        if inner is None and held is not None:
            raise _conversion_error("nothing", held).within(name)
        start = arena.keep(inner(held, arena)) if inner is not None else 0
        return _with_variant(KINDS["variant"], len(text), id(text) + BYTES_HEAD, start)

    return lower


def _flags(names: frozenset[str]) -> Lowerer:
    texts = {name: name.encode() for name in names}

    def lower(value: Any, arena: Arena) -> bytes:
        if not isinstance(value, set | frozenset) or not value <= names:
            raise ConversionError(f"must be a set of {', '.join(sorted(names))}")
        made = b"".join([_vector(len(texts[n]), id(texts[n]) + BYTES_HEAD) for n in value])
        return _with_vector(KINDS["flags"], len(value), arena.keep(made))

    return lower


def _conversion_error(wanted: str, value: object) -> ConversionError:
    return ConversionError(f"must be {wanted}, not {type(value).__name__}" if value is not None
                 else f"must be {wanted}; it is missing")  # fmt: skip
