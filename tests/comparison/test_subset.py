"""What a value of JSON lacks of what is expected of it."""

from __future__ import annotations

from typing import Any

import pytest

from algaenv.comparison.subset import missing_parts


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({}, {"a": 1}),
        ({"a": {"b": None}}, {"a": {"b": None, "c": 1}, "d": 2}),
        ([{"a": 1}, 2], [{"a": 1, "b": 2}, 2.0]),
        ("x", "x"),
        (None, None),
    ],
)
def test_nothing_is_missing(expected: Any, found: Any) -> None:
    assert missing_parts(expected, found) == ()


@pytest.mark.parametrize(
    ("expected", "found", "at", "there"),
    [
        ({"a": 1}, {}, "/a", ()),
        ({"a": None}, {}, "/a", ()),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, "/a~1b/~0", (2,)),
        ([1], [1, 2], "", ([1, 2],)),
        ([{"a": 1}], [{"a": True}], "/0/a", (True,)),
        (1, True, "", (True,)),
        ({"a": {}}, {"a": []}, "/a", ([],)),
        ("1", 1, "", (1,)),
    ],
)
def test_what_is_missing_is_named(
    expected: Any, found: Any, at: str, there: tuple[Any, ...]
) -> None:
    (difference,) = missing_parts(expected, found)
    assert (difference.at, difference.there) == (at, there)


def test_everything_missing_is_named_and_depth_does_not_matter() -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    assert len(missing_parts({"a": 1, "b": 2}, {"a": 2})) == 2
    assert missing_parts(deep, deep) == ()
