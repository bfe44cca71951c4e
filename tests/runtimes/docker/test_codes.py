"""Every problem code that is raised is documented, and every documented one is raised."""

from __future__ import annotations

import re
from pathlib import Path

import algaenv.runtimes
from algaenv.runtimes import codes as shared
from algaenv.runtimes.docker import codes

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
    assert raised == {code for code, _ in codes.CODES}


def test_shared() -> None:
    raised = _raised([ROOT / "templates.py", ROOT / "binaries.py"])
    assert raised == {code for code, _ in shared.CODES}


def test_each_once_and_in_order() -> None:
    for table in (codes.CODES, shared.CODES):
        names = [code for code, _ in table]
        assert len(set(names)) == len(names)
        assert all(meaning and not meaning.endswith(".") for _, meaning in table)
    assert [code for code, _ in codes.CODES] == sorted(code for code, _ in codes.CODES)
