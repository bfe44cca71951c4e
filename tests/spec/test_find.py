"""The spec is found here or above, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.spec.find import find_spec


def test_here_and_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_spec(inner) is None
    outer = tmp_path / "algaenv.yaml"
    outer.write_text("name: demo\n")
    assert find_spec(inner) == outer
    nearer = tmp_path / "a" / "algaenv.yaml"
    nearer.write_text("name: demo\n")
    assert find_spec(inner) == nearer
    monkeypatch.chdir(inner)
    assert find_spec(Path()) == nearer


def test_a_directory_of_that_name_is_no_spec(tmp_path: Path) -> None:
    (tmp_path / "algaenv.yaml").mkdir()
    assert find_spec(tmp_path) is None
