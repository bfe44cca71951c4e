"""A Ctrl-C in a terminal goes to its whole process group: what steps run is not in ours."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import algaenv

ROOT = Path(algaenv.__file__).parent
BELOW = ("runtimes", "drivers", "reconcile")
"""Where steps are taken; a tool that ended by our Ctrl-C would be reported as a failed step."""


def starts(path: Path) -> list[ast.Call]:
    """Every place that starts another program."""
    calls = [it for it in ast.walk(ast.parse(path.read_text())) if isinstance(it, ast.Call)]
    return [it for it in calls if ast.unparse(it.func) in {"subprocess.run", "subprocess.Popen"}]


FILES = [path for name in BELOW for path in sorted((ROOT / name).rglob("*.py")) if starts(path)]


def test_programs_are_started_somewhere() -> None:
    assert len(FILES) >= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_steps_run_has_a_session_of_its_own(path: Path) -> None:
    for call in starts(path):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("start_new_session") == "True", f"{path}:{call.lineno}"
