"""Fields of the JSON objects that the application server answers with.

It may spell a name `likeThis` or `like_this`. The first spelling counts when it is there at all,
whatever its value; Alga's runner reads them so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

Fields = Mapping[str, object]

_MAX_U64 = 2**64 - 1
_MAX_U32 = 2**32 - 1


class Malformed(Exception):
    """An answer lacks something, or has it in another shape."""


@cache
def camel(name: str) -> str:
    """`client_id` as `clientId`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def raw(fields: Fields, name: str) -> object:
    """The value under either spelling; None when there is none."""
    spelled = camel(name)
    return fields[spelled] if spelled in fields else fields.get(name)


def text(fields: Fields, name: str) -> str | None:
    """A string, or None for anything else."""
    value = raw(fields, name)
    return value if isinstance(value, str) else None


def needed(fields: Fields, name: str) -> str:
    """A string. Raises Malformed."""
    value = raw(fields, name)
    if not isinstance(value, str):
        raise Malformed(name)
    return value


def one_of(fields: Fields, name: str, values: frozenset[str]) -> str:
    """One of these strings. Raises Malformed."""
    value = needed(fields, name)
    if value not in values:
        raise Malformed(name)
    return value


def flag(fields: Fields, name: str, *, default: bool) -> bool:
    """A boolean, or the default for anything else."""
    value = raw(fields, name)
    return value if isinstance(value, bool) else default


def number(value: object) -> float | None:
    """What JSON calls a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def unsigned(value: object) -> int | None:
    """A whole number that fits into 64 bits, written without a fraction."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MAX_U64 else None


def count(fields: Fields, name: str, *, default: int) -> int:
    """A number of at most 32 bits; larger ones lose what is above, as in Alga's runner."""
    value = unsigned(raw(fields, name))
    return default if value is None else value & _MAX_U32


def mapping(value: object) -> Fields:
    """A JSON object. Raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed
    return value


def listing(fields: Fields, name: str) -> list[object]:
    """An array, or an empty one for anything else."""
    value = raw(fields, name)
    return value if isinstance(value, list) else []
