"""`init`: what it writes, what it prints, and that it writes nothing over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import run
from tests.cli.schemas import check
from tests.cli.test_new import files
from tests.scaffold.alga import make_alga


@pytest.fixture
def alga(tmp_path: Path) -> Path:
    root = tmp_path / "alga-psa"
    root.mkdir()
    make_alga(root)
    return root


def test_a_spec_is_written_and_valid(alga: Path) -> None:
    done = run(alga, "init")
    assert (done.returncode, done.stdout) == (0, f"wrote {alga / 'algaenv.yaml'} (1 extension)\n")
    assert "hello-world  ./ee/extensions/samples/hello-world  packed as it is" in done.stderr
    assert "left out: cannot use" in done.stderr
    assert "algaenv up" in done.stderr
    assert (alga / ".gitignore").read_text() == ".algaenv/\n*.local.yaml\n"
    checked = run(alga, "validate")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_dry_run_prints_and_writes_nothing(alga: Path) -> None:
    before = files(alga)
    shown = run(alga.parent, "init", "alga-psa", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith("# yaml-language-server: $schema=https://")
    document = json.loads(run(alga, "init", "--dry-run", "--json").stdout)
    check("init", document)
    assert (document["written"], document["spec"]) == (False, shown.stdout)
    problems = {it["name"]: it["problem"] for it in document["extensions"]}
    assert problems["hello-world"] is None
    assert "as version" in problems["outdated"]
    assert files(alga) == before


def test_what_is_there_is_kept_unless_forced(alga: Path) -> None:
    (alga / "algaenv.yaml").write_text("mine")
    before = files(alga)
    done = run(alga, "init")
    assert (done.returncode, done.stdout) == (ExitCode.RESOURCE, "")
    assert "init-exists" in done.stderr
    assert files(alga) == before
    forced = run(alga, "init", "--force", "--json")
    assert forced.returncode == 0
    check("init", json.loads(forced.stdout))
    assert "hello-world" in (alga / "algaenv.yaml").read_text()


def test_a_sample_is_copied_and_valid(tmp_path: Path) -> None:
    done = run(tmp_path, "init", "shop", "--from", "notes", "--name", "shop")
    assert done.returncode == 0
    assert "algaenv up -f shop" in done.stderr
    checked = run(tmp_path, "validate", "-f", "shop")
    assert (checked.returncode, checked.stderr) == (0, "")
    before = files(tmp_path)
    again = run(tmp_path, "init", "shop", "--from", "capabilities")
    assert again.returncode == ExitCode.RESOURCE
    assert again.stderr.count("init-exists") > 5
    assert files(tmp_path) == before
    listed = run(tmp_path, "init", "other", "--from", "capabilities", "--dry-run")
    assert "src/handler.ts\n" in listed.stdout
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such directory"),
        (["--from", "nots"], "did you mean notes?"),
        (["--name", "My Shop"], "lower-case letters"),
    ],
)
def test_a_wrong_command_line_changes_nothing(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = run(tmp_path, "init", *arguments)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert said in done.stderr
    assert files(tmp_path) == {}
