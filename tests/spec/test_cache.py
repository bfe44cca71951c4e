"""An unchanged spec is not read again; a changed one always is; an odd cache is only slow."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from algaenv.model.problem import SpecError
from algaenv.spec.cache import load_cached
from algaenv.spec.load import LoadedSpec, load

ENVIRON = {"PORT": "7000", "TOKEN": "token-1", "OTHER": "x"}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "manifest.json").write_text("{}")
    (tmp_path / "password").write_text("password-1\n")
    (tmp_path / "base.yaml").write_text("redis: {password: {file: password}}\n")
    path = tmp_path / "algaenv.yaml"
    path.write_text(
        "name: demo\nextends: ./base.yaml\nstore: {port: '${PORT}', engine: minio}\n"
        "extensions:\n"
        "  hello: {source: ./hello, secrets: {t: {env: TOKEN}},\n"
        "          build: {command: a, workspace: .}}\n"
    )
    return path


def kept(directory: Path) -> Path:
    (path,) = directory.glob("spec-*.json")
    return path


def test_second_load_is_kept_and_equal(spec: Path, tmp_path: Path) -> None:
    first = load_cached(spec, ENVIRON, tmp_path / "cache")
    before = stamp(tmp_path / "cache")
    second = load_cached(spec, ENVIRON, tmp_path / "cache")
    assert first == second == load(spec, ENVIRON)
    assert [w.code for w in second.warnings] == ["spec-engine-caution"]
    assert stamp(tmp_path / "cache") == before


def test_kept_file_is_private(spec: Path, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "cache"
    load_cached(spec, ENVIRON, directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept(directory).stat().st_mode) == 0o600
    assert list(directory.iterdir()) == [kept(directory)]
    entry = json.loads(kept(directory).read_text())
    assert set(entry["variables"]) == {"ALGAENV_PROFILES", "PORT", "TOKEN"}
    assert "7000" not in json.dumps(entry["variables"])


def stamp(directory: Path) -> tuple[int, int]:
    """Another one after each full load, since that puts a new file in place."""
    seen = kept(directory).stat()
    return seen.st_ino, seen.st_mtime_ns


def edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda home: (home / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        edit("algaenv.yaml", "name: other\n"),
        edit("base.yaml", "redis: {port: 7001}\n"),
        edit("password", "password-2\n"),
        edit("algaenv.local.yaml", "name: local\n"),
    ],
)
def test_a_changed_file_is_read(
    change: Callable[[Path], object], spec: Path, tmp_path: Path
) -> None:
    before = load_cached(spec, ENVIRON, tmp_path / "cache")
    change(tmp_path)
    after = load_cached(spec, ENVIRON, tmp_path / "cache")
    assert after.intent == load(spec, ENVIRON).intent != before.intent


@pytest.mark.parametrize(
    ("environ", "hit"),
    [
        ({**ENVIRON, "PORT": "7001"}, False),
        ({**ENVIRON, "TOKEN": "token-2"}, False),
        ({**ENVIRON, "OTHER": "y", "NEW": "z"}, True),
    ],
)
def test_variables(environ: Mapping[str, str], hit: bool, spec: Path, tmp_path: Path) -> None:
    load_cached(spec, ENVIRON, tmp_path / "cache")
    before = stamp(tmp_path / "cache")
    assert load_cached(spec, environ, tmp_path / "cache").intent == load(spec, environ).intent
    assert (stamp(tmp_path / "cache") == before) is hit


def test_a_missing_file_or_variable_is_complained_about(spec: Path, tmp_path: Path) -> None:
    load_cached(spec, ENVIRON, tmp_path / "cache")
    with pytest.raises(SpecError, match="PORT"):
        load_cached(spec, {"TOKEN": "token-1"}, tmp_path / "cache")
    (tmp_path / "password").unlink()
    with pytest.raises(SpecError, match="spec-secret-file"):
        load_cached(spec, ENVIRON, tmp_path / "cache")


def test_a_source_that_went_away_is_complained_about(spec: Path, tmp_path: Path) -> None:
    load_cached(spec, ENVIRON, tmp_path / "cache")
    (tmp_path / "hello" / "manifest.json").unlink()
    with pytest.raises(SpecError, match="spec-source-missing"):
        load_cached(spec, ENVIRON, tmp_path / "cache")


def test_two_specs_do_not_share(spec: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("name: other\n")
    for _ in range(2):
        assert load_cached(spec, ENVIRON, tmp_path / "cache").intent.name == "demo"
        assert load_cached(other, ENVIRON, tmp_path / "cache").intent.name == "other"


def test_places_are_as_the_path_was_given(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_cached(spec, ENVIRON, tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    relative = load_cached(Path("algaenv.yaml"), ENVIRON, tmp_path / "cache")
    assert relative.intent.extensions[0].where.file == "algaenv.yaml"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "null",
        lambda text: "\x00\xff",
        lambda text: text.replace('"format":1', '"format":0'),
        lambda text: text.replace('"algaenv":"', '"algaenv":"0'),
        lambda text: text.replace('"code":"', '"code":"0'),
        lambda text: text.replace('"files":{', '"files":[').replace("}", "]", 1),
        lambda text: text.replace('"keep_versions"', '"kept_versions"'),
        lambda text: text.replace('"@":"Intent"', '"@":"Intention"'),
        lambda text: text.replace('"intent":', '"intent":[' * 5000),
    ],
)
def test_damage_is_a_miss(damage: Callable[[str], str], spec: Path, tmp_path: Path) -> None:
    first = load_cached(spec, ENVIRON, tmp_path / "cache")
    path = kept(tmp_path / "cache")
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text), encoding="latin-1")
    before = stamp(tmp_path / "cache")
    assert load_cached(spec, ENVIRON, tmp_path / "cache") == first
    after = stamp(tmp_path / "cache")
    assert after != before
    assert load_cached(spec, ENVIRON, tmp_path / "cache") == first
    assert stamp(tmp_path / "cache") == after


def test_a_directory_that_cannot_be_written_costs_only_speed(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert isinstance(load_cached(spec, ENVIRON, tmp_path / "file" / "cache"), LoadedSpec)


PROGRAM = """
import sys, pathlib
from algaenv.spec.cache import load_cached
spec, cache = map(pathlib.Path, sys.argv[1:])
load_cached(spec, {"PORT": "7000", "TOKEN": "token-1"}, cache)
print(*(name for name in ("yaml", "pydantic") if name in sys.modules))
"""


def test_a_hit_imports_neither_yaml_nor_pydantic(spec: Path, tmp_path: Path) -> None:
    def imported() -> str:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, spec, tmp_path / "cache"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout.strip()

    assert imported() == "yaml pydantic"
    assert imported() == ""


def test_a_hit_is_quick(spec: Path, tmp_path: Path) -> None:
    load_cached(spec, ENVIRON, tmp_path / "cache")
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        load_cached(spec, ENVIRON, tmp_path / "cache")
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.005
