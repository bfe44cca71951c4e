"""What is installed: bounded, locked with hashes, audited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import algaenv

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [*PROJECT["dependencies"]] + [
    each for extra in PROJECT["optional-dependencies"].values() for each in extra
]


@pytest.mark.parametrize("text", sorted(set(REQUIREMENTS)))
def test_every_requirement_has_a_lower_and_an_upper_bound(text: str) -> None:
    requirement = Requirement(text)
    if requirement.name == "algaenv":
        return
    operators = {each.operator for each in requirement.specifier}
    assert ">=" in operators
    assert "<" in operators


def test_the_lock_is_of_this_project_file() -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert uv, "uv is one of the requirements of the tests"
    done = subprocess.run(
        [uv, "lock", "--check", "--offline"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_carries_every_file_of_the_package(tmp_path: Path) -> None:
    """A pattern of .gitignore leaves files out of it without a word."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    listed = subprocess.run(
        ["git", "ls-files", "algaenv", "stacks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = {
        name if name.startswith("algaenv/") else f"algaenv/{name}"
        for name in listed.stdout.splitlines()
    }
    assert wanted
    assert wanted <= packed
    schemas = {it.name for it in (ROOT / "docs" / "reference").glob("*.schema.json")}
    assert schemas
    assert {f"algaenv/schemas/{name}" for name in schemas} <= packed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_and_sdist_are_installed_and_work_in_a_clean_environment(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert uv, "uv is one of the requirements of the tests"

    def run(*command: str | Path, cwd: Path = tmp_path) -> str:
        done = subprocess.run(
            [str(it) for it in command],
            cwd=cwd,
            env={name: it for name, it in os.environ.items() if not name.startswith("PYTHON")},
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(uv, "build", "--quiet", "--out-dir", tmp_path / "dist", cwd=ROOT)
    (wheel,), (sdist,) = (list((tmp_path / "dist").glob(it)) for it in ("*.whl", "*.tar.gz"))
    assert algaenv.__version__ in wheel.name
    assert algaenv.__version__ in sdist.name
    for number, archive in enumerate((wheel, sdist)):
        venv = tmp_path / f"venv-{number}"
        run(uv, "venv", "--quiet", "--python", sys.executable, venv)
        run(uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python", archive)
        ours = venv / "bin" / "algaenv"
        assert algaenv.__version__ in run(ours, "version")
        assert '"algaenv plan"' in run(ours, "schema", "plan")
        (tmp_path / f"shop-{number}").mkdir()
        here = tmp_path / f"shop-{number}"
        run(ours, "new", "hello", "--template", "ui", cwd=here)
        run(ours, "validate", cwd=here)


def test_every_file_of_the_lock_has_a_hash() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    for package in lock["package"]:
        if package["name"] == "algaenv":
            continue
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, package["name"]
        assert all(each["hash"].startswith("sha256:") for each in files)


@pytest.mark.parametrize(
    ("answer", "status", "expected", "shown"),
    [
        ("found no known vulnerabilities", 0, 0, "found no known"),
        ("found 1 known vulnerability: PYSEC-1", 1, 1, "PYSEC-1"),
        ("error sending request for url; dns error", 2, 0, "SKIPPED"),
        ("cannot read uv.lock", 2, 2, "cannot read"),
    ],
)
def test_an_audit_fails_on_a_vulnerability_and_is_skipped_offline(
    tmp_path: Path, answer: str, status: int, expected: int, shown: str
) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {status}\n")
    uv.chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci" / "audit", uv], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == expected
    assert shown in done.stdout
