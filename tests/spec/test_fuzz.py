"""Any file content: reading it ends in an Intent or in errors."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algaenv.model.problem import SpecError
from algaenv.spec.load import load

GOOD = Path(__file__).parent / "good" / "everything.yaml"
ODD = """
*a|&a |<<: |!!int |${A}|${A:-1}|${B}|${|$$|{|}|[|]|"|'|>|#|---|...|\t|%YAML 9.9|? |~|: |\n- |\n  |
extends: .|extends: /|extends: ${B}|null|name: a\n|x-a: &a |\x00|\ufeff|\u2028|source: ${B}|
file: ${B}|file: /dev/zero|- ${A}:/b|url: ${B}|app_url: http://[${A}|engine: ../silo|from: ${B}
"""
PIECES = st.sampled_from([*GOOD.read_text(encoding="utf-8").split(), *ODD.split("|")])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "store", "engine", "port", "source", "build", "extensions"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SETTINGS = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def survives(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "algaenv.yaml")
        path.write_bytes(content)
        try:
            load(path, {"A": "1\n:", "B": "\ud800"})
        except SpecError as error:
            problems = error.problems
        else:
            return
    assert problems
    for problem in problems:
        assert problem.code.startswith("spec-")
        assert problem.summary.startswith("cannot ")
        assert problem.where is None or problem.where.line > 0


@SETTINGS
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    survives(content)


@SETTINGS
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    survives(text.encode("utf-8", "surrogatepass"))


@SETTINGS
@given(st.lists(PIECES, max_size=40))
def test_pieces_of_specs(pieces: list[str]) -> None:
    survives(" ".join(pieces).encode())


@SETTINGS
@given(JSON)
def test_any_values(value: object) -> None:
    import yaml

    survives(yaml.safe_dump({"name": "demo", "redis": value, "extensions": value}).encode())
    survives(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))
