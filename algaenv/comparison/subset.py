"""Whether a value of JSON has all that is expected of it; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from algaenv.comparison.volatile import pointer_of
from algaenv.model.comparison import Difference

_ABSENT: Any = object()


def missing_parts(expected: Any, found: Any) -> tuple[Difference, ...]:
    """What `found` lacks of `expected` (`here`: expected, `there`: found), by JSON pointer.

    A mapping may have further keys; a list is compared whole, its items in this way.
    """
    return tuple(_missing((), expected, found))


def _missing(keys: tuple[str, ...], expected: Any, found: Any) -> Iterator[Difference]:
    # Its own stack: JSON can nest deep.
    left = [(keys, expected, found)]
    while left:
        keys, expected, found = left.pop()
        if isinstance(expected, dict) and isinstance(found, dict):
            pairs = [(key, value, found.get(key, _ABSENT)) for key, value in expected.items()]
        elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
            both = zip(expected, found, strict=True)
            pairs = [(str(index), one, other) for index, (one, other) in enumerate(both)]
        elif _is_same(expected, found):
            continue
        else:
            there = () if found is _ABSENT else (found,)
            yield Difference("body", pointer_of(keys), (expected,), there)
            continue
        left += [((*keys, name), one, other) for name, one, other in reversed(pairs)]


def _is_same(expected: Any, found: Any) -> bool:
    # To Python True is 1, and to JSON it is not.
    return isinstance(expected, bool) is isinstance(found, bool) and bool(expected == found)
