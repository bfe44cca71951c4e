"""Completion by a shell: commands, options, and names from the spec."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from algaenv.drivers.snapshots.directory import SnapshotDirectory, SnapshotManifest
from algaenv.drivers.state.state_dir import identify, open_state_dir
from algaenv.model.pins import Pins
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.spec.lock_file import text_of
from tests.cli.program import environ, run

_ASK = """
line=$1
eval "$(algaenv completion bash)"
read -ra COMP_WORDS <<< "$line"
case $line in *" ") COMP_WORDS+=("");; esac
COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_python_argcomplete algaenv "${COMP_WORDS[$COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text(
        "name: demo\nextensions: {hello: ./hello, tickets: ./tickets}\nbogus: true\n"
        "tasks: {seed: {run: x}, migrate: {run: x}}\n"
        "services: {mail: {process: [x], ports: {web: 1}}}\n"
    )
    return tmp_path


def offered(directory: Path, line: str) -> list[str]:
    """What bash offers after this line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash: none is on PATH")
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "algaenv"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m algaenv "$@"\n')
    program.chmod(0o755)
    variables = environ(directory)
    variables["PATH"] = f"{programs}:{variables['PATH']}"
    done = subprocess.run(
        [bash, "-c", _ASK, "bash", line],
        cwd=directory, env=variables, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("algaenv rest", ["restart"]),
        ("algaenv wat", ["watch"]),
        ("algaenv doct", ["doctor"]),
        ("algaenv doctor --f", ["--fix", "--file"]),
        ("algaenv call ", ["hello", "tickets"]),
        ("algaenv up t", ["tickets"]),
        ("algaenv restart g", ["gateway"]),
        ("algaenv exec m", ["mail"]),
        ("algaenv logs m", ["mail"]),
        ("algaenv logs r", ["redis", "runner"]),
        ("algaenv wait h", ["hello"]),
        ("algaenv explain port-t", ["port-taken"]),
        ("algaenv snapshot re", ["restore"]),
        ("algaenv run ", ["migrate", "seed"]),
        ("algaenv completion ", ["bash", "zsh", "fish"]),
        ("algaenv up --run", ["--runtime"]),
    ],
)
def test_bash_offers_what_fits(demo: Path, line: str, expected: list[str]) -> None:
    assert offered(demo, line) == expected


def test_snapshots_are_offered_where_one_is_wanted(demo: Path) -> None:
    environment = identify(demo / "algaenv.yaml", "demo")
    open_state_dir(environment)
    directory = SnapshotDirectory(environment)
    for name in ("before", "between"):
        stored = StoredSnapshot(name, "2026-11-30T19:08:00Z", "process", 18, 1, 0, 0)
        with directory.saving(name) as place:
            manifest = SnapshotManifest(stored, (), (), {"database.dump": "", "store.tar": ""})
            directory.write(place, manifest)
    assert sorted(offered(demo, "algaenv snapshot restore be")) == ["before", "between"]
    assert offered(demo, "algaenv snapshot delete befo") == ["before"]
    assert offered(demo, "algaenv snapshot save be") == []


def test_a_spec_that_is_missing_or_broken_offers_nothing(tmp_path: Path) -> None:
    assert offered(tmp_path, "algaenv open ") == []
    (tmp_path / "algaenv.yaml").write_text("extensions: [")
    assert offered(tmp_path, "algaenv open ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_lines(tmp_path: Path, shell: str) -> None:
    code = run(tmp_path, "completion", shell).stdout
    assert "algaenv" in code
    document = json.loads(run(tmp_path, "completion", shell, "--json").stdout)
    assert (document["shell"], document["code"].strip()) == (shell, code.strip())
    assert run(tmp_path, "completion", "tcsh").returncode != 0


def test_names_of_the_lock_file_are_offered_for_an_update(demo: Path) -> None:
    pins = Pins("1", "t", (), {"wasmtime": "50", "watchfiles": "1", "anyio": "4"})
    (demo / "algaenv.lock").write_text(text_of(pins))
    assert offered(demo, "algaenv lock --update wa") == ["wasmtime", "watchfiles"]
    (demo / "algaenv.lock").write_text("broken")
    assert offered(demo, "algaenv lock --update wa") == []
