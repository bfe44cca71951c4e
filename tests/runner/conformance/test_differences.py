"""Every difference that is documented is stated, and none is stated that is not documented."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "explanation" / "runner-differences.md"
_STATED = re.compile(r'\bdiffers\(\s*"([a-z0-9-]+)"')
_DOCUMENTED = re.compile(r"<!-- row: ([a-z0-9-]+) -->")


def test_every_difference_has_a_row_and_a_reason() -> None:
    stated = {
        name for file in HERE.glob("*.py") for name in _STATED.findall(file.read_text("utf-8"))
    }
    documented = set(_DOCUMENTED.findall(PAGE.read_text("utf-8")))
    assert documented - stated == set(), "documented, but no row states them"
    assert stated - documented == set(), "stated by a row, but not documented"
