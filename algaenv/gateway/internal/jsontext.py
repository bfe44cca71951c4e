"""JSON as JavaScript reads and writes it: sizes and numbers in the product are JavaScript's."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

_EXACT_DIGITS = 15
"""So many digits are the same number in a double."""
_LARGEST_PLAIN = 1e21
"""From here on JavaScript writes integers with an exponent."""


def read(text: bytes) -> Any:
    """The value; every number is the nearest double, integral ones are ints. Raises ValueError."""
    return json.loads(
        text.decode(), parse_int=_integer, parse_float=_number, parse_constant=_refuse
    )


def write(value: object) -> bytes:
    """Compact UTF-8. Raises UnicodeEncodeError for half a surrogate pair."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def units(text: str) -> int:
    """The length that JavaScript sees: UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _integer(text: str) -> int | float | None:
    return int(text) if len(text) <= _EXACT_DIGITS else _number(text)


def _number(text: str) -> int | float | None:
    value = float(text)
    if math.isinf(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _LARGEST_PLAIN else value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
