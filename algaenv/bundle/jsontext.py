"""JSON as an author's file: strict, and every value can be pointed at.

The standard parser does the reading. It forgets where things stood and lets some things pass
which Alga's server or its database does not, so what it lost is looked up again, and only when
there is something to say.
"""

from __future__ import annotations

import json
from dataclasses import field
from itertools import count
from typing import Any

from algaenv.bundle.jsonfault import Fault, explain, skip_space
from algaenv.bundle.value import dataclass

Path = tuple[str | int, ...]
"""How to get to a value: keys of objects, indices of lists."""

MAX_DEPTH = 64

MAX_BYTES = 1024 * 1024
"""Of a manifest; a thousand times what one is like."""

_WORDS = {"N": ("NaN",), "I": ("Infinity",), "-": ("-Infinity",)}
TOO_LARGE = Fault(
    0,
    "it is larger than 1 MiB",
    "move data into a file of the page, or into the extension's storage",
)
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
    if is_too_long(text):
        raise Unreadable("manifest-too-large", TOO_LARGE)
    repeats = strange = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        value = dict(items)
        repeats = repeats or len(value) != len(items)
        return value

    def constant(word: str) -> None:  # noqa: ARG001
        nonlocal strange
        strange = True

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        if (strange or _too_deep(value)) and (refused := _first_refused(text)) is not None:
            raise refused
        return Loaded(value, repeats)
    except RecursionError:
        # Nothing else makes the standard parser recurse.
        refused = _first_refused(text)
        assert refused is not None  # noqa: S101
        raise refused from None
    except json.JSONDecodeError as error:
        if (refused := _first_refused(text)) is not None:
            raise refused from None
        raise Unreadable("manifest-syntax", explain(text, error)) from None
    except ValueError:
        if (refused := _first_refused(text)) is not None:
            raise refused from None
        # Python's guard against numbers of thousands of digits tells no place.
        fault = Fault(0, "a number is too long", "write a shorter number")
        raise Unreadable("manifest-syntax", fault) from None


def is_too_long(text: str) -> bool:
    """Whether a text has more than MAX_BYTES in UTF-8; without encoding one that surely has."""
    return len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES


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


def _first_refused(text: str) -> Unreadable | None:
    """The first thing that no other parser accepts: a level too deep, or a number that is none.

    In one pass: who gets here has a text that is not valid, whatever its size.
    """
    at, depth, length = 0, 0, len(text)
    while at < length:
        match text[at]:
            case '"':
                end = _string_end(text, at)
                if end < 0:
                    return None
                at = end
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    what = f"it nests deeper than {MAX_DEPTH} levels"
                    return Unreadable("manifest-nesting", Fault(at, what, "flatten it"))
            case "}" | "]":
                depth -= 1
            case "N" | "I" | "-" as first:
                word = next((word for word in _WORDS[first] if text.startswith(word, at)), None)
                if word is not None:
                    fault = Fault(at, f"{word} is not a JSON value", "write a number or null")
                    return Unreadable("manifest-syntax", fault)
        at += 1
    return None


def _string_end(text: str, at: int) -> int:
    """Where the string that begins at `at` is closed; -1 where it is not."""
    end = text.find('"', at + 1)
    while end >= 0:
        before = end - 1
        while text[before] == "\\":
            before -= 1
        if (end - before) % 2:
            return end
        end = text.find('"', end + 1)
    return -1


def _too_deep(value: object) -> bool:
    """Whether lists and objects stand in each other more than MAX_DEPTH levels deep."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True
