"""Where the value of a field comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.model.problem import SpecError
from algaenv.spec.provenance import explain_field, extension_names


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "algaenv.yaml"
    file.write_text(
        'name: demo\nstore: {port: "${PORT}"}\n'
        "extensions: {a: ./a, x-note: {b: 1}, c: {source: ./c, checks: [{call: GET /x}]}}\n"
    )
    return file


def test_a_value_has_its_place_and_its_variables(spec: Path) -> None:
    (setting,) = explain_field(spec, {"PORT": "9"}, "store.port").settings
    assert (setting.where.line, setting.where.column) == (2, 9)
    assert (setting.text, setting.variables) == ("${PORT}", {"PORT": "the shell"})
    (setting,) = explain_field(spec, {}, "extensions.c.checks.0.call").settings
    assert setting.text == "GET /x"


@pytest.mark.parametrize("name", ["stor.port", "store.prt", "extensions.c.checks.0.cal", "x.y", ""])
def test_a_field_that_the_spec_does_not_have(spec: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        explain_field(spec, {}, name)
    assert [it.code for it in caught.value.problems] == ["spec-field-unknown"]


def test_names_are_known_whatever_else_is_wrong(spec: Path) -> None:
    spec.write_text(f"{spec.read_text()}bogus: 1\n")
    assert extension_names(spec, {}) == {"a", "c"}
    spec.write_text("extensions: [")
    with pytest.raises(SpecError):
        extension_names(spec, {})
