"""The tree keeps every word's place, and resolves bare words without YAML 1.1's traps."""

from __future__ import annotations

import pytest

from algaenv.model.problem import Where
from algaenv.spec.ledger import Ledger
from algaenv.spec.parse import parse
from algaenv.spec.scalars import meaning
from algaenv.spec.tree import Places, bare


def places(text: str) -> Places:
    ledger = Ledger({})
    node = parse(text, "f", ledger)
    assert not ledger.problems
    assert node is not None
    return Places(node)


def test_places() -> None:
    here = places("a: 1\nb:\n  - x\n  - {c: 'ü', d: e}\n# note\nf: |\n  text\n")
    assert here.key(("b",)) == Where("f", 2, 1)
    assert here.value(("b",)) == Where("f", 3, 3)
    assert here.value(("b", 1, "c")) == Where("f", 4, 9)
    assert here.key(("b", 1, "d")) == Where("f", 4, 14)
    assert here.value(("f",)) == Where("f", 6, 4)


def test_place_of_what_is_not_there() -> None:
    here = places("a:\n  b: 1\n")
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
    read = meaning(text)
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
    assert bare(places(f"a: {text}").root) == {"a": value}


@pytest.mark.parametrize("text", ["!!int abc", "!!bool maybe", "!!float .nan", "!!binary aGk="])
def test_tags_that_do_not_fit(text: str) -> None:
    ledger = Ledger({})
    parse(f"a: {text}", "f", ledger)
    assert [problem.code for problem in ledger.problems] in (["spec-number"], ["spec-tag"])


def test_aliases_share_their_place() -> None:
    here = places("a: &x {b: 1}\nc: *x\n")
    assert here.value(("c", "b")) == here.value(("a", "b")) == Where("f", 1, 11)
