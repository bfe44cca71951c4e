"""`new`: what it writes, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import run
from tests.cli.schemas import check

SPEC = "# ours\nname: shop\nextensions:\n  a: ./a  # kept\n"


def files(directory: Path) -> dict[str, bytes]:
    found = (it for it in directory.rglob("*") if it.is_file())
    return {str(it.relative_to(directory)): it.read_bytes() for it in found}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/manifest.json").write_text("{}")
    (tmp_path / "algaenv.yaml").write_text(SPEC)
    return tmp_path


def test_without_a_spec_one_is_written(tmp_path: Path) -> None:
    here = tmp_path / "My Shop"
    here.mkdir()
    done = run(here, "new", "bills")
    assert (done.returncode, done.stdout) == (
        0,
        "wrote ./bills (10 files), with the new spec ./algaenv.yaml\n",
    )
    assert "algaenv call bills /greeting" in done.stderr
    assert "name: my-shop\n" in (here / "algaenv.yaml").read_text()
    assert (here / ".gitignore").read_text() == ".algaenv/\n*.local.yaml\n"
    checked = run(here, "validate")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "esbuild and jco of algaenv" in checked.stdout


def test_a_spec_above_gets_the_entry_and_keeps_its_comments(shop: Path) -> None:
    below = shop / "extensions"
    below.mkdir()
    done = run(below, "new", "bills", "--template", "ui", "--json")
    document = json.loads(done.stdout)
    check("new", document)
    assert document["spec_created"] is False
    assert "ui/index.html" in document["files"]
    assert (shop / "algaenv.yaml").read_text() == (
        f"{SPEC}  bills:\n    source: ./extensions/bills\n    checks:\n"
        "      - page: msp\n        expect: {text: Bills}\n"
    )
    assert not (shop / ".gitignore").exists()
    assert run(below, "validate").returncode == 0


def test_templates_are_listed(tmp_path: Path) -> None:
    done = run(tmp_path, "new", "--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ui", "handler", "full"]
    document = json.loads(run(tmp_path, "new", "--list", "--json").stdout)
    check("new", document)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], ExitCode.USAGE, "without a name"),
        (["Bills"], ExitCode.USAGE, "lower-case letters"),
        (["../bills"], ExitCode.USAGE, "lower-case letters"),
        (["bills", "--publisher", 'a"b'], ExitCode.USAGE, "as a publisher"),
        (["bills", "--template", "handlr"], ExitCode.USAGE, "did you mean handler"),
        (["a"], ExitCode.RESOURCE, "scaffold-exists"),
        (["a", "--directory", "b"], ExitCode.RESOURCE, "scaffold-listed"),
        (["bills", "--directory", "algaenv.yaml/b"], ExitCode.RESOURCE, "scaffold-unwritable"),
    ],
)
def test_a_refusal_changes_nothing(
    shop: Path, arguments: list[str], code: ExitCode, said: str
) -> None:
    before = files(shop)
    done = run(shop, "new", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert files(shop) == before


@pytest.mark.parametrize(
    ("spec", "code"),
    [("name: X Y\nprots: auto\n", "spec-"), ('{"name": "x", "extensions": {}}', "spec-edit")],
)
def test_a_spec_that_cannot_be_added_to_stays(tmp_path: Path, spec: str, code: str) -> None:
    (tmp_path / "algaenv.yaml").write_text(spec)
    before = files(tmp_path)
    done = run(tmp_path, "new", "bills")
    assert done.returncode == ExitCode.SPEC
    assert code in done.stderr
    assert files(tmp_path) == before
