"""`lock`, as people and programs read it."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from algaenv.cli.output.lock import check_to_json, result_text, result_to_json
from algaenv.dependencies import LockResult
from algaenv.model.pins import Pins, changes
from algaenv.model.problem import Problem
from tests.cli.fake_application import PINS
from tests.cli.program import run
from tests.cli.schemas import check

PATH = Path("/project/algaenv.lock")
SILENT = {"process": Problem("binary-missing", "cannot find a program for redis", "install it")}


def test_what_is_written_reads_as_intended() -> None:
    result = LockResult(PATH, PINS, changes(None, PINS), SILENT)
    assert result_text(result) == dedent(f"""\
        + algaenv version: 0.1.0
        + algaenv templates: sha256:1234
        + docker/store linux/amd64: silo 9, pulled sha256:{"a" * 12}
        + packages wasmtime: 50.0.1
        + tools/hello node: v22.1.0
        not looked up: what process runs: cannot find a program for redis

        wrote /project/algaenv.lock: 1 service with docker on linux/amd64, 1 package, 1 tool""")
    assert result_text(LockResult(PATH, PINS, (), {})).startswith("nothing to change in /project/")


def test_a_long_list_of_changes_is_cut_unless_asked_for() -> None:
    many = Pins("1", "t", (), {f"p{it}": "1" for it in range(30)})
    result = LockResult(PATH, many, changes(None, many), {})
    assert "and 20 more; --verbose lists them" in result_text(result)
    assert "packages p29: 1" in result_text(result, verbose=True)


def test_json_is_as_its_schema_says() -> None:
    check("lock", result_to_json(LockResult(PATH, PINS, changes(None, PINS), SILENT)))
    check("lock", check_to_json(PATH, changes(PINS, Pins("2", ""))))


@pytest.mark.parametrize(("scenario", "code"), [("noop", 0), ("lock-differs", 2)])
def test_check_exits_with_2_where_something_differs(
    tmp_path: Path, scenario: str, code: int
) -> None:
    (tmp_path / "algaenv.yaml").touch()
    done = run(tmp_path, "lock", "--check", scenario=scenario)
    assert done.returncode == code
    assert "\x1b[31m" not in done.stdout
    assert ("docker/store: version: locked 9, here 10" in done.stdout) is (code == 2)
    shown = json.loads(run(tmp_path, "lock", "--check", "--json", scenario=scenario).stdout)
    check("lock", shown)
    assert bool(shown["differences"]) is (code == 2)


def test_check_and_update_exclude_each_other(tmp_path: Path) -> None:
    done = run(tmp_path, "lock", "--check", "--update", scenario="noop")
    assert done.returncode == 64
    assert "cannot check and update at once" in done.stderr
