"""Rules that the content drivers' own text has to keep."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import algaenv.drivers
from algaenv.problems import load_problem_codes

PACKAGE = Path(algaenv.drivers.__file__).parent
FILES = sorted(
    path
    for pattern in ("content_*.py", "database/*.py", "object_store.py", "store_content.py")
    for path in PACKAGE.glob(pattern)
)


def calls(name: str) -> Iterator[ast.Call]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                yield node


def texts() -> Iterator[str]:
    """Every string literal, with holes where an f-string has them."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(it.value) if isinstance(it, ast.Constant) else "?" for it in node.values
                )


def test_every_code_is_listed_and_every_listed_code_is_raised() -> None:
    raised = {
        it.args[0].value
        for it in calls("Problem")
        if it.args and isinstance(it.args[0], ast.Constant)
    }
    assert all(it.args for it in calls("Problem")), "codes are first arguments here"
    assert raised <= {each.code for each in load_problem_codes()["drivers"]}
    assert len(raised) > 20


def test_summaries_say_cannot() -> None:
    for call in calls("Problem"):
        summary = call.args[1]
        first = summary.values[0] if isinstance(summary, ast.JoinedStr) else summary
        assert isinstance(first, ast.Constant)
        assert str(first.value).startswith("cannot ")


def test_citus_takes_every_upsert() -> None:
    """It refuses functions on the right of DO UPDATE for the tables it distributes."""
    upserts = [it for it in texts() if "DO UPDATE" in it and "INSERT INTO" in it]
    assert len(upserts) >= 8
    for text in upserts:
        assigned = text.partition("DO UPDATE")[2].partition(" RETURNING")[0].partition("WHERE")[0]
        assert "excluded." in assigned
        assert not re.search(r"\w+\s*\(|current_|localtime|'now'", assigned, re.IGNORECASE), text


def test_no_statement_that_writes_joins_tables() -> None:
    for text in texts():
        if re.match(r"\s*(UPDATE|DELETE)\b", text):
            assert not re.search(r"\b(USING|JOIN)\b", text), text
        if re.match(r"\s*UPDATE\b", text):
            assert not re.search(r"\bFROM\b", text), text


def test_files_are_of_a_size_to_be_read() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path
