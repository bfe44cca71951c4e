"""Every problem code that is raised is documented, and every documented one is raised."""

from __future__ import annotations

import re
from pathlib import Path

import algaenv.runtimes
from algaenv.problems import load_problem_codes

REGISTRY = load_problem_codes()
ROOT = Path(algaenv.runtimes.__file__).parent
_RAISED = re.compile(r'(?:Problem\(\s*|code = )"([a-z-]+)"(?: if [^\n]* else "([a-z-]+)")?')


def _raised(files: list[Path]) -> set[str]:
    found = set()
    for file in files:
        for match in _RAISED.finditer(file.read_text()):
            found |= {code for code in match.groups() if code}
    return found


def test_docker() -> None:
    raised = _raised(list((ROOT / "docker").rglob("*.py")))
    assert raised == {each.code for each in REGISTRY["runtimes.docker"]}


def test_shared() -> None:
    raised = _raised([ROOT / "binaries.py", ROOT / "environments.py", ROOT / "author_services.py"])
    assert raised == {each.code for each in REGISTRY["runtimes"]}


def test_each_has_a_meaning() -> None:
    for section in ("runtimes", "runtimes.docker"):
        assert all(each.meaning and not each.meaning.endswith(".") for each in REGISTRY[section])
