"""The tree keeps every word's place, and resolves bare words without YAML 1.1's traps."""

from __future__ import annotations

import pytest

from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.nodes import SourceMap, resolve_scalar, to_plain
from algaenv.spec.yaml_tree import parse_yaml


def source_map_of(text: str) -> SourceMap:
    diagnostics = Diagnostics({})
    node = parse_yaml(text, "f", diagnostics)
    assert not diagnostics.problems
    assert node is not None
    return SourceMap(node)


def test_places() -> None:
    here = source_map_of("a: 1\nb:\n  - x\n  - {c: 'ü', d: e}\n# note\nf: |\n  text\n")
    assert here.key(("b",)) == Where("f", 2, 1)
    assert here.value(("b",)) == Where("f", 3, 3)
    assert here.value(("b", 1, "c")) == Where("f", 4, 9)
    assert here.key(("b", 1, "d")) == Where("f", 4, 14)
    assert here.value(("f",)) == Where("f", 6, 4)


def test_place_of_what_is_not_there() -> None:
    here = source_map_of("a:\n  b: 1\n")
    assert here.value(("a", "z", "y")) == Where("f", 2, 3)
    assert here.key(("a", "z")) == Where("f", 2, 3)
    assert here.node(("a", "z")) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("yes", True),
        ("Off", False),
        ("17", 17),
        ("-3", -3),
        ("0x1F", 31),
        ("1_000", 1000),
        ("0", 0),
        ("1.50", 1.5),
        ("007", "007"),
        ("12:30", "12:30"),
        ("12:30.5", "12:30.5"),
        ("2026-01-31", "2026-01-31"),
        ("1e3", "1e3"),
        ("=", "="),
        ("<<", "<<"),
        (".inf", ".inf"),
        ("9" * 100, "9" * 100),
    ],
)
def test_bare_words(text: str, value: object) -> None:
    read = resolve_scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!!str 17", "17"),
        ("!!int '17'", 17),
        ("!!bool 'yes'", True),
        ("!!float 1.5", 1.5),
        ("!!null ''", None),
        ("!!seq [1]", [1]),
        ("!!map {a: 1}", {"a": 1}),
    ],
)
def test_explicit_tags(text: str, value: object) -> None:
    assert to_plain(source_map_of(f"a: {text}").root) == {"a": value}


@pytest.mark.parametrize("text", ["!!int abc", "!!bool maybe", "!!float .nan", "!!binary aGk="])
def test_tags_that_do_not_fit(text: str) -> None:
    diagnostics = Diagnostics({})
    parse_yaml(f"a: {text}", "f", diagnostics)
    assert [problem.code for problem in diagnostics.problems] in (["spec-number"], ["spec-tag"])


def test_aliases_share_their_place() -> None:
    here = source_map_of("a: &x {b: 1}\nc: *x\n")
    assert here.value(("c", "b")) == here.value(("a", "b")) == Where("f", 1, 11)
