"""JSON as an author's file: strict, and every value can be pointed at.

The standard parser does the reading. It forgets where things stood and lets some things pass
which Alga's server or its database does not, so what it lost is looked up again, and only when
there is something to say.
"""

from __future__ import annotations

import json
import re
from dataclasses import field
from itertools import count
from typing import Any

from algaenv.bundle.jsonfault import Fault, explain, skip_space
from algaenv.bundle.value import dataclass

Path = tuple[str | int, ...]
"""How to get to a value: keys of objects, indices of lists."""

MAX_DEPTH = 64

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]|NaN|-?Infinity', re.DOTALL)
_decode = json.JSONDecoder().raw_decode


class Unreadable(Exception):
    """The text is not JSON, or not such as anything else would read."""

    def __init__(self, code: str, fault: Fault) -> None:
        super().__init__(fault.what)
        self.code = code
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Loaded:
    """The value, and whether some object in the text repeats a key."""

    value: Any
    repeats: bool


def load(text: str) -> Loaded:
    """Parse `text`. Raises Unreadable."""
    _refuse_tokens(text)
    repeats = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        value = dict(items)
        repeats = repeats or len(value) != len(items)
        return value

    try:
        return Loaded(json.loads(text, object_pairs_hook=pairs), repeats)
    except json.JSONDecodeError as error:
        raise Unreadable("manifest-syntax", explain(text, error)) from None
    except ValueError:
        # Python's guard against numbers of thousands of digits tells no place.
        fault = Fault(0, "a number is too long", "write a shorter number")
        raise Unreadable("manifest-syntax", fault) from None


@dataclass(frozen=True, slots=True)
class Places:
    """Offsets of the keys and values of one valid JSON text."""

    keys: dict[Path, int] = field(default_factory=dict)
    values: dict[Path, int] = field(default_factory=dict)
    repeated: list[tuple[Path, int]] = field(default_factory=list)

    @classmethod
    def of(cls, text: str) -> Places:
        """Walk the text once. It must have passed `load`."""
        places = cls()
        places._walk(text, skip_space(text, 0), ())
        return places

    def _walk(self, text: str, at: int, path: Path) -> int:
        self.values[path] = at
        match text[at]:
            case "{":
                return self._members(text, at, path)
            case "[":
                return self._items(text, at, path)
            case _:
                return _decode(text, at)[1]

    def _members(self, text: str, at: int, path: Path) -> int:
        while text[at] != "}":
            at = skip_space(text, at + 1)
            if text[at] == "}":
                break
            key, end = _decode(text, at)
            here = (*path, key)
            if here in self.keys:
                self.repeated.append((here, at))
            self.keys[here] = at
            value_at = skip_space(text, skip_space(text, end) + 1)
            at = skip_space(text, self._walk(text, value_at, here))
        return at + 1

    def _items(self, text: str, at: int, path: Path) -> int:
        for index in count():
            at = skip_space(text, at + 1)
            if text[at] != "]":
                at = skip_space(text, self._walk(text, at, (*path, index)))
            if text[at] == "]":
                break
        return at + 1


def _refuse_tokens(text: str) -> None:
    """Refuse what the standard parser accepts, or dies of, although no other parser would."""
    depth = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    what = f"it nests deeper than {MAX_DEPTH} levels"
                    fault = Fault(token.start(), what, "flatten it")
                    raise Unreadable("manifest-nesting", fault)
            case "}" | "]":
                depth -= 1
            case "NaN" | "Infinity" | "-Infinity" as word:
                what = f"{word} is not a JSON value"
                fault = Fault(token.start(), what, "write a number or null")
                raise Unreadable("manifest-syntax", fault)
