"""Every wrong spec in `bad/` says exactly what its `.err` says.

With UPDATE_EXPECTED=1 the files are written instead, to be read before they are kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from algaenv.model.problem import SpecError
from algaenv.spec.load import load

BAD = Path(__file__).parent / "bad"
ENVIRON = {"SPACED_SECRET": "hunter2 hunter2"}
HIDDEN = ("hunter2", "123456")


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.yaml")))
def test_says_what_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(SpecError) as caught:
        load(Path(f"{name}.yaml"), ENVIRON, stacks=Path("with"))
    reported = f"{caught.value}\n"
    expected = BAD / f"{name}.err"
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(reported, encoding="utf-8")
    assert reported == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(BAD.glob("*.err")), ids=lambda path: path.stem)
def test_shape_of_messages(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert path.with_suffix(".yaml").is_file()
    for line in lines:
        assert line.startswith("  hint: ") or "]: cannot " in line, line
        assert not any(secret in line for secret in HIDDEN), line
    assert lines
