"""Whether a value of JSON has all that is expected of it; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from algaenv.bundle.value import dataclass
from algaenv.comparison.volatile import pointer_of
from algaenv.model.comparison import Difference

_ABSENT: Any = object()


def missing_parts(expected: Any, found: Any) -> tuple[Difference, ...]:
    """What `found` lacks of `expected` (`here`: expected, `there`: found), by JSON pointer.

    A mapping may have further keys; a list is compared whole, its items in this way.
    """
    return tuple(_missing(expected, found))


@dataclass(frozen=True, slots=True)
class _Place:
    """A key below another place: a path as a whole would be copied at every depth."""

    above: _Place | None
    key: str


def _keys(place: _Place | None) -> tuple[str, ...]:
    keys = []
    while place is not None:
        keys.append(place.key)
        place = place.above
    return tuple(reversed(keys))


def _missing(expected: Any, found: Any) -> Iterator[Difference]:
    # Its own stack: JSON can nest deep.
    place: _Place | None = None
    left = [(place, expected, found)]
    while left:
        place, expected, found = left.pop()
        if isinstance(expected, dict) and isinstance(found, dict):
            pairs = [(key, value, found.get(key, _ABSENT)) for key, value in expected.items()]
        elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
            both = zip(expected, found, strict=True)
            pairs = [(str(index), one, other) for index, (one, other) in enumerate(both)]
        elif _is_same(expected, found):
            continue
        else:
            there = () if found is _ABSENT else (found,)
            yield Difference("body", pointer_of(_keys(place)), (expected,), there)
            continue
        left += [(_Place(place, name), one, other) for name, one, other in reversed(pairs)]


def _is_same(expected: Any, found: Any) -> bool:
    # To Python True is 1, and to JSON it is not.
    return isinstance(expected, bool) is isinstance(found, bool) and bool(expected == found)
