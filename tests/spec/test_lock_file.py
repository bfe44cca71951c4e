"""The lock file as text: one order, and every fault at its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.pins import Pins, ServicePin
from algaenv.model.problem import SpecError
from algaenv.spec import lock_file

STORE = ServicePin(
    *("docker", "linux/amd64", "store", 'silo "9"', "silo", "9", "pulled", "sha256:a"),
    *(("one/silo", "two/silo"), "9"),
)
REDIS = ServicePin(
    "docker", "linux/amd64", "redis", "valkey", "valkey", "", "built on python:3.12", ""
)
PINS = Pins(
    "0.1.0",
    "sha256:t",
    (STORE, REDIS),
    {"wasmtime": "50", "anyio": "4"},
    {"my ext": {"node": "v22 \x7f\n"}, "hello": {"npm": "10"}},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    spec = tmp_path / "team.yaml"
    assert lock_file.read(spec) is None
    (tmp_path / "team.lock").write_text(lock_file.text_of(PINS))
    assert lock_file.read(spec) == PINS


def test_equal_pins_give_equal_text() -> None:
    other = replace(
        PINS,
        services=(REDIS, STORE),
        packages=dict(reversed(list(PINS.packages.items()))),
        tools=dict(reversed(list(PINS.tools.items()))),
    )
    text = lock_file.text_of(PINS)
    assert lock_file.text_of(other) == text
    assert text.startswith("# The versions that environments")
    assert text.index('service = "store"') < text.index('service = "redis"')
    assert 'repositories = ["one/silo", "two/silo"]' in text


GOOD = 'version = 1\nalgaenv = "1"\ntemplates = "t"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = ", [(1, 11, "it is not TOML: Invalid value")]),
        ("version = 2\n", [(1, 1, "its version is 2, not 1: a newer algaenv wrote it")]),
        ("x = 1\n", [(1, 1, "its version is None, not 1")]),
        (
            f'{GOOD}color = 1\n\n[[service]]\nruntime = "docker"\nservice = "cat"\ntag = 1\nx = 1\n'
            "[packages]\na = 1\n[tools]\nhello = 1\n",
            [
                (4, 1, "there is no key color"),
                (6, 1, "[[service]] has no key x"),
                (6, 1, "[[service]] lacks platform"),
                (6, 1, "[[service]] there is no service cat"),
                (6, 1, "[[service]] lacks asked"),
                (6, 1, "[[service]] lacks engine"),
                (6, 1, "[[service]] lacks origin"),
                (6, 1, "[[service]] tag must be text"),
                (11, 1, "packages must be a table of texts"),
                (13, 1, "tools must be tables of texts"),
            ],
        ),
        ('version = 1\nalgaenv = 1\ntemplates = "t"\nservice = 1\n',
         [(2, 1, "algaenv must be text"), (4, 1, "service must be a list of tables")]),
    ],
)  # fmt: skip
def test_every_fault_is_named_at_its_place(
    tmp_path: Path, text: str, expected: list[tuple[int, int, str]]
) -> None:
    (tmp_path / "algaenv.lock").write_text(text)
    with pytest.raises(SpecError) as caught:
        lock_file.read(tmp_path / "algaenv.yaml")
    found = []
    for problem in caught.value.problems:
        assert problem.code == "spec-lock-invalid"
        assert problem.where is not None
        assert problem.where.file == str(tmp_path / "algaenv.lock")
        why = problem.summary.removeprefix("cannot use the lock file: ")
        found.append((problem.where.line, problem.where.column, why))
    assert found == expected


def test_the_same_pin_twice_is_refused(tmp_path: Path) -> None:
    twice = replace(PINS, services=(STORE, STORE))
    (tmp_path / "algaenv.lock").write_text(lock_file.text_of(twice))
    with pytest.raises(SpecError, match="docker/store is there twice"):
        lock_file.read(tmp_path / "algaenv.yaml")


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "algaenv.lock").write_bytes(b"\xff")
    with pytest.raises(SpecError, match="it is not UTF-8"):
        lock_file.read(tmp_path / "algaenv.yaml")
    (tmp_path / "algaenv.lock").unlink()
    (tmp_path / "algaenv.lock").mkdir()
    with pytest.raises(SpecError, match="it cannot be read: Is a directory"):
        lock_file.read(tmp_path / "algaenv.yaml")
