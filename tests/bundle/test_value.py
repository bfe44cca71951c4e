"""Values against what the standard library makes of the same class bodies."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from algaenv.bundle import value
from algaenv.bundle.digest import Digest
from algaenv.model.kind import Address


def points(decorate: Callable[..., Any], field: Callable[..., Any]) -> tuple[type[Any], type[Any]]:
    @decorate(frozen=True, slots=True, order=True)
    class Point:
        x: int
        y: int = 2

        @property
        def far(self) -> bool:
            return self.x > self.y

    @decorate(frozen=True, slots=True)
    class Place:
        name: str
        at: Point | None = None
        tags: dict[str, str] = field(default_factory=dict)
        note: str = field(default="-", repr=False)
        seen: float = field(default=0.0, compare=False)
        found: list[str] = field(default_factory=list, compare=False, repr=False)

        def __post_init__(self) -> None:
            if not self.name:
                raise ValueError("no name")

    return Point, Place


OURS = points(value.dataclass, value.field)
STANDARD = points(dataclasses.dataclass, dataclasses.field)


def described(point: type[Any], place: type[Any]) -> list[object]:
    """What can be seen of both classes and their instances."""
    p, q = point(1), point(y=3, x=1)
    here = place("here", p, {"a": "b"})
    sent = inspect.signature(place)
    return [
        repr(p),
        repr(here),
        p == q,
        p == point(1, 2),
        hash(p) == hash(point(1, 2)),
        p < q,
        p >= q,
        sorted([q, p]) == [p, q],
        p == (1, 2),
        p.far,
        here == place("here", p, {"a": "b"}, seen=9.0, found=["x"]),
        here == place("here", p, {"a": "b"}, note="+"),
        place("a").tags is place("b").tags,
        place("a").found,
        point.__match_args__,
        point.__slots__,
        list(sent.parameters),
        [each.kind for each in sent.parameters.values()],
        [each.name for each in dataclasses.fields(place)],
        [(each.repr, each.compare, each.default) for each in dataclasses.fields(here)][3:5],
        dataclasses.is_dataclass(place),
        dataclasses.asdict(here),
        repr(dataclasses.replace(here, name="there")),
        repr(copy.deepcopy(here)),
        point.__qualname__,
        point.__module__,
    ]


def test_a_value_is_what_the_standard_decorator_makes() -> None:
    assert described(*OURS) == described(*STANDARD)


@pytest.mark.parametrize("classes", [OURS, STANDARD], ids=["ours", "standard"])
def test_what_both_refuse(classes: tuple[type[Any], type[Any]]) -> None:
    point, place = classes
    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument"):
        point()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        point(1, z=2)
    with pytest.raises(TypeError, match="'<' not supported"):
        assert point(1) < 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(place("here"))  # it holds a dict
    with pytest.raises(ValueError, match="no name"):
        place("")
    with pytest.raises((AttributeError, TypeError)):
        point(1).unknown = 1


@pytest.mark.parametrize(
    ("decorate", "field"),
    [(value.dataclass, value.field), (dataclasses.dataclass, dataclasses.field)],
    ids=["ours", "standard"],
)
def test_definitions_that_both_refuse(
    decorate: Callable[..., Any], field: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match="mutable default"):

        @decorate(frozen=True, slots=True)
        class Shared:
            things: list[str] = []  # noqa: RUF012 - the mistake

    with pytest.raises(TypeError, match="default"):

        @decorate(frozen=True, slots=True)
        class Disordered:
            first: str = ""
            second: str

    with pytest.raises(TypeError):
        field(unknown=1)


def test_what_is_not_frozen_cannot_be_hashed() -> None:
    @value.dataclass(slots=True)
    class Tally:
        count: int = 0

    tally = Tally()
    tally.count += 1
    assert tally == Tally(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(tally)


def test_helpers() -> None:
    point, place = OURS
    assert value.replace(point(1), y=5) == point(1, 5)
    assert value.field_names(place) == value.field_names(place("a"))
    assert value.is_dataclass(point(1))
    assert value.is_dataclass(point)
    assert not value.is_dataclass("text")
    assert not value.is_dataclass(int)


def test_values_can_be_pickled() -> None:
    for sent in (Address("container", "store"), Digest("a" * 64)):
        assert pickle.loads(pickle.dumps(sent)) == sent


def test_the_model_loads_without_the_standard_decorator() -> None:
    script = "import sys, algaenv.model.event, algaenv.model.lock; print('inspect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
