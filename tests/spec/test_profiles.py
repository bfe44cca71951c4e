"""Which extensions count, by the profiles that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.model.intent import with_named
from algaenv.model.problem import SpecError
from algaenv.spec.cache import load_cached
from algaenv.spec.load import load

SPEC = """\
name: demo
extensions:
  always: ./always
  reports: {source: ./reports, profiles: [full, reporting]}
  extra: {source: ./extra, profiles: [full]}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for name in ("always", "reports", "extra"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    path = tmp_path / "algaenv.yaml"
    path.write_text(SPEC)
    return path


def active(spec: Path, profiles: str | None) -> list[str]:
    environ = {} if profiles is None else {"ALGAENV_PROFILES": profiles}
    intent = load_cached(spec, environ, spec.parent / "cache").intent
    assert {it.name for it in intent.every_extension} == {"always", "reports", "extra"}
    return [it.name for it in intent.extensions]


def test_what_has_no_profile_always_counts(spec: Path) -> None:
    assert active(spec, None) == active(spec, "") == ["always"]
    assert active(spec, "reporting") == ["always", "reports"]
    assert active(spec, " reporting , full ") == ["always", "reports", "extra"]
    assert active(spec, "*") == ["always", "reports", "extra"]
    assert active(spec, None) == ["always"], "the cache knows the variable"


def test_the_variable_may_stand_in_the_file_beside_the_spec(spec: Path) -> None:
    (spec.parent / ".env").write_text("ALGAENV_PROFILES=full\n")
    assert active(spec, None) == ["always", "reports", "extra"]
    assert active(spec, "reporting") == ["always", "reports"]


def test_an_unknown_profile_is_refused_with_those_there_are(spec: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(spec, {"ALGAENV_PROFILES": "ful,staging"})
    near, far = caught.value.problems
    assert (near.code, far.code) == ("spec-profile-unknown",) * 2
    assert near.hint == "did you mean `full`?"
    assert far.hint == "choose one of full, reporting"


def test_a_spec_without_profiles_names_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "algaenv.yaml"
    path.write_text("name: demo\n")
    with pytest.raises(SpecError) as caught:
        load(path, {"ALGAENV_PROFILES": "full"})
    (problem,) = caught.value.problems
    assert "add it to `profiles`" in problem.hint
    (tmp_path / ".env").write_bytes(b"\xff")
    load(path, {})


def test_a_named_extension_counts_whatever_its_profiles(spec: Path) -> None:
    intent = with_named(load(spec, {}).intent, ("extra", "always"))
    assert [it.name for it in intent.extensions] == ["always", "extra"]
    assert [it.name for it in intent.inactive] == ["reports"]
