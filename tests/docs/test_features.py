"""The page of features: every row says what shows it, and the tests that it names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/features.md"
WORTH = {"yes": 1.0, "partly": 0.5, "no": 0.0}
DAILY = 44
"""The first of the rows that somebody uses all day."""


def rows() -> list[tuple[int, str, str]]:
    """Number, state, and what shows it."""
    row = re.compile(r"^\| (\d+) \|[^|]*\| (yes|partly|no)\b[^|]*\|([^|]*)\|$", re.MULTILINE)
    return [(int(number), state, shown) for number, state, shown in row.findall(PAGE.read_text())]


def test_every_feature_names_what_shows_it() -> None:
    assert [number for number, _, _ in rows()] == list(range(1, 81))
    for number, state, shown in rows():
        assert bool(shown.strip()) is (state != "no"), number


def test_the_tests_are_there() -> None:
    missing = []
    for number, _, shown in rows():
        for file, _, name in (it.partition("::") for it in re.findall(r"`(tests/[^`]+)`", shown)):
            path = ROOT / file
            tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
            names = {it.name for it in ast.walk(tree) if isinstance(it, ast.FunctionDef)}
            if not path.is_file() or (name and name not in names):
                missing.append((number, f"{file}::{name}"))
    assert missing == []


def test_the_score_is_that_of_the_rows() -> None:
    whole = sum(WORTH[state] for _, state, _ in rows())
    daily = sum(WORTH[state] for number, state, _ in rows() if number >= DAILY)
    assert f"{whole:g} of 80, and {daily:g} of the 37" in PAGE.read_text()
