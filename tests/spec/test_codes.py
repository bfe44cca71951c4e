"""Every code that is raised is documented, and the other way round."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import algaenv.spec
from algaenv.problems import load_problem_codes

CODES = [(each.code, each.meaning) for each in load_problem_codes()["spec"]]
PACKAGE = Path(algaenv.spec.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "spec.md"


def raised() -> set[str]:
    pattern = re.compile(r"spec-[a-z]+(?:-[a-z]+)*")
    return {
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and pattern.fullmatch(node.value)
    }


def test_codes_are_complete() -> None:
    listed = [code for code, _ in CODES]
    assert len(listed) == len(set(listed))
    assert set(listed) == raised()


def test_codes_are_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for code, meaning in CODES:
        assert f"| `{code}` | {meaning} |" in page


def test_every_code_has_a_test() -> None:
    reported = "".join(path.read_text() for path in (Path(__file__).parent / "bad").glob("*.err"))
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    shown = {code for code, _ in CODES if f"[{code}]" in reported or code in tests}
    assert {code for code, _ in CODES} - shown == set()
