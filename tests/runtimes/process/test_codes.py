"""Every problem this runtime can raise is registered, and nothing else is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from algaenv.problems import load_problem_codes
from algaenv.runtimes import process


def raised() -> Iterator[tuple[str, str]]:
    """Code and file of each Problem that is written out."""
    for source in Path(process.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Problem"), args=[code, *_]):
                    yield from ((text, source.name) for text in _texts(code))


def _texts(node: ast.expr) -> Iterator[str]:
    """The text that an expression is, or chooses from."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)


def test_the_section_is_complete() -> None:
    codes = load_problem_codes()["runtimes.process"]
    assert {each.code for each in codes} == {code for code, _ in raised()}
    assert all(each.meaning and not each.meaning.endswith(".") for each in codes)
