"""JSON and base64 as the peers speak them: no infinities, no half characters, no slack.

What is read here is handed to guests, whose strings cannot hold what JSON in Python can.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import NoReturn


def parse(text: str | bytes) -> object:
    """Read a JSON document. Raises ValueError, whose text does not quote the document."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if "\\u" in text:
            # An escape may stand for half a character.
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except UnicodeError:
        raise ValueError("not Unicode") from None
    except RecursionError:
        raise ValueError("too deep") from None
    return value


def dump(value: object) -> str:
    """Write JSON without spaces. Raises ValueError when it is nested too deep."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("too deep") from None


def encode(content: bytes) -> str:
    """Padded standard base64."""
    return base64.b64encode(content).decode()


def decode(text: str) -> bytes:
    """Read padded standard base64, in its one right spelling. Raises ValueError."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if encode(content) != text:
        raise ValueError("bits left over")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number out of range")
    return value
