"""Values as JavaScript reads, converts and writes them, because the product is written in it."""

from __future__ import annotations

import codecs
import json
import math
import re
from base64 import b64decode
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn, Self

WHITE = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
"""What counts as white space, as a class of a regular expression has it."""

_EXACT_DIGITS = 15
"""So many digits are the same number in a double."""
_LARGEST_PLAIN = 1e21
"""From here on integers are written with an exponent."""
_LARGEST_EXPONENT = 21
_SMALLEST_EXPONENT = -6

_ENDS = re.compile(rf"\A[{WHITE}]+|[{WHITE}]+\Z")
_DECIMAL = re.compile(r"[+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_PREFIXED = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_BASES = {"x": 16, "o": 8, "b": 2}
_SPELLED_OTHERWISE = re.compile(r"[0-9](?:\.0\b|e[+-])")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+(?:e[+-]?[0-9]+)?|e[+-]?[0-9]+)')


def parse_json(text: bytes | str) -> Any:
    """The value; every number is the nearest double, integral ones are ints; one that is too large
    is infinite. Raises ValueError.

    Bytes that are no UTF-8 are replaced, and a mark at the beginning is left out.
    """
    if isinstance(text, bytes):
        # The codec `utf-8-sig` is written in Python, and this runs several times a call.
        text = text.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    return _decode_json(text)


def dump_json(value: object) -> bytes:
    """What `JSON.stringify` makes of a value, with its keys as they come; UTF-8."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    if _SPELLED_OTHERWISE.search(text):
        text = _TOKEN.sub(_spell_token, text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def _finite(value: object) -> object:
    """With null for every number that JSON does not have."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_finite(each) for each in value]
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case _:
            return value


def well_formed(text: str) -> str:
    """With the replacement character for each half of a surrogate pair, as UTF-8 has it."""
    return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)


def _spell_token(match: re.Match[str]) -> str:
    token = match[0]
    return token if token.startswith('"') else number_text(float(token))


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _EXACT_DIGITS else _number(text)


def _number(text: str) -> int | float:
    value = float(text)
    if value.is_integer() and abs(value) < _LARGEST_PLAIN:
        return int(number_text(value))
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode_json = json.JSONDecoder(
    parse_int=_integer, parse_float=_number, parse_constant=_refuse
).decode
"""Made once: `json.loads` makes a decoder for every text."""


def number_text(value: float) -> str:
    """A number as text: `1`, `1e-7`, `1e+21`."""
    number = float(value)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else f"{'-' * (number < 0)}Infinity"
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    text = "".join(map(str, digits))
    # Where the point is, counted from the first digit.
    point = len(text) + int(exponent)
    text = text.rstrip("0")
    if point > _LARGEST_EXPONENT or point <= _SMALLEST_EXPONENT:
        rest = f".{text[1:]}" if text[1:] else ""
        text = f"{text[0]}{rest}e{point - 1:+}"
    elif point <= 0:
        text = f"0.{'0' * -point}{text}"
    elif point >= len(text):
        text = text.ljust(point, "0")
    else:
        text = f"{text[:point]}.{text[point:]}"
    return "-" * sign + text


def to_text(value: object) -> str:
    """What `String` makes of a value of JSON."""
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return number_text(value)
        case list():
            return ",".join("" if it is None else to_text(it) for it in value)
        case _:
            return "[object Object]"


def to_number(value: object) -> float:
    """What `Number` makes of a value of JSON; NaN where it makes none."""
    match value:
        case None:
            return 0.0
        case int() | float():
            return float(value)
        case str():
            return _text_to_number(trim(value))
        case list():
            return to_number(to_text(value))
        case _:
            return math.nan


def _text_to_number(text: str) -> float:
    if not text:
        return 0.0
    if _PREFIXED.fullmatch(text):
        whole = int(text[2:], _BASES[text[1].lower()])
        return float(whole) if whole.bit_length() <= 1_000 else math.inf
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def is_true(value: object) -> bool:
    """What `Boolean` makes of a value of JSON."""
    return isinstance(value, list | dict) or bool(value)


def round_half_up(value: float) -> int:
    """What `Math.round` makes of a number."""
    return math.floor(Fraction(value) + Fraction(1, 2))


def trim(text: str) -> str:
    """Without white space at both ends."""
    return _ENDS.sub("", text)


def utf16_length(text: str) -> int:
    """The length of a text in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def iso_timestamp(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and `Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_ARRAY_INDEX = 2**32 - 2
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_URL_SAFE = str.maketrans("-_", "+/")


def stringify(value: object) -> str:
    """What `JSON.stringify` makes of a value that `parse_json` read."""
    return dump_json(_in_order(value)).decode()


def _in_order(value: object) -> object:
    """Keys that are indices of an array come first, by size."""
    if isinstance(value, list):
        return [_in_order(each) for each in value]
    if not isinstance(value, dict):
        return value
    indices = [it for it in value if _ARRAY_INDEX.fullmatch(it) and int(it) <= _MAX_ARRAY_INDEX]
    names = dict.fromkeys([*sorted(indices, key=int), *value])
    return {name: _in_order(value[name]) for name in names}


def decode_base64(text: str) -> bytes:
    """What `Buffer.from` makes of base64: what is no digit is passed over, and `=` ends it."""
    with suppress(ValueError):
        return b64decode(text, validate=True)
    digits = _NO_BASE64.sub("", text.partition("=")[0].translate(_URL_SAFE))
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return b64decode(digits + "=" * (-len(digits) % 4))


_BLANKS = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NO_BLANKS = (
    r"\x00-\x08\x0e-\x1f!-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e"
    r"\u2060-\u2fff\u3001-\ufefe\uff00-\U0010ffff"
)
_IN_CLASS = {r"\s": _BLANKS, r"\S": _NO_BLANKS}
_OUTSIDE = {
    r"\s": f"[{_BLANKS}]",
    r"\S": f"[{_NO_BLANKS}]",
    ".": r"[^\n\r\u2028\u2029]",
    "$": r"\Z",
}
_PATTERN_PART = re.compile(r"\\.|\[\^?\]?|.", re.DOTALL)
"""An escape, the start of a class with a `]` that is a member of it, or one character."""


class Pattern(str):
    r"""A regular expression as JavaScript reads it with the flag `u`; `str()` is the source.

    There `\d`, `\w` and `\b` know ASCII only, `\s` knows the blanks of Unicode and the byte order
    mark, `.` takes no end of a line, and `$` is the very end.
    """

    __slots__ = ("_source",)
    _source: str

    @classmethod
    def translated(cls, source: str) -> Self:
        """Raises re.error for what Python does not know."""
        pattern = cls(f"(?a:{''.join(_pattern_parts(source))})")
        pattern._source = source
        re.compile(pattern)
        return pattern

    def __str__(self) -> str:
        return self._source


def _pattern_parts(source: str) -> list[str]:
    parts = []
    in_class = False
    for part in _PATTERN_PART.findall(source):
        parts.append((_IN_CLASS if in_class else _OUTSIDE).get(part, part))
        in_class = part != "]" if in_class else part.startswith("[")
    return parts
