import re
from pathlib import Path

import algaenv.bundle
from algaenv.problems import load_problem_codes

CODES = [(each.code, each.meaning) for each in load_problem_codes()["bundle"]]
PACKAGE = Path(algaenv.bundle.__file__).parent


def test_every_code_is_listed_and_every_listed_one_used() -> None:
    used = {
        code
        for path in PACKAGE.rglob("*.py")
        for code in re.findall(r'"((?:manifest|source|archive)(?:-[a-z0-9]+)+)"', path.read_text())
    }
    assert used == {code for code, _ in CODES}


def test_codes_are_unique_and_explained() -> None:
    assert len(dict(CODES)) == len(CODES)
    for code, meaning in CODES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", code)
        assert meaning.endswith(".")
        assert "\n" not in meaning


def test_every_code_has_been_seen_by_a_test() -> None:
    here = Path(__file__).parent
    seen = "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("*.py", "manifests/*.err")
        for path in here.glob(pattern)
    )
    assert [code for code, _ in CODES if code not in seen] == []
