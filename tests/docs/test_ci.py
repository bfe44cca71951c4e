"""The recipes for CI do what the page says: their shell steps run as a runner would run them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import blocks, read
from tests.docs.shell import OVERLAY
from tests.guests.recipes import NOT_SOURCES, SAMPLES

PAGE = read("docs/how-to/ci.md")
CHECKS = "    checks:\n      - page: msp\n"
SECONDS = 280.0


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    github, gitlab = (yaml.safe_load(it.text) for it in blocks(PAGE, "yml"))
    return github, gitlab


def github_steps() -> list[tuple[str, str]]:
    """`(condition, command)` of each step that is a command."""
    (job,) = documents()[0]["jobs"].values()
    return [(it.get("if", "success()"), it["run"]) for it in job["steps"] if "run" in it]


class Machine:
    """A checkout of its own, with `algaenv` being this one, and nothing to install."""

    def __init__(self, root: Path) -> None:
        self.root = root / "checkout"
        self.root.mkdir()
        self.tools = root / "tools"
        self.tools.mkdir()
        self._tool("algaenv", f'exec {shlex.quote(sys.executable)} -m algaenv "$@"')
        self._tool("pip", f'echo "$*" >> {shlex.quote(str(self.tools / "installed"))}')
        self.environ = {
            **os.environ,
            "CI": "true",
            "PATH": os.pathsep.join((str(self.tools), os.environ["PATH"])),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "npm_config_prefer_offline": "true",
        }

    def _tool(self, name: str, script: str) -> None:
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def new_extension(self) -> None:
        self.run("algaenv new hello --template ui")
        self._overlay()

    def use_sample(self, name: str) -> None:
        ignored = shutil.ignore_patterns(*NOT_SOURCES)
        shutil.copytree(SAMPLES / name, self.root, ignore=ignored, dirs_exist_ok=True)
        spec = self.root / "algaenv.yaml"
        if "checks:" not in spec.read_text():
            spec.write_text(spec.read_text().rstrip("\n") + f"\n{CHECKS}")
        self._overlay()

    def _overlay(self) -> None:
        (self.root / "algaenv.local.yaml").write_text(OVERLAY + "gateway: {port: auto}\n")

    def run(self, command: str, code: int = 0) -> str:
        """As a runner does: bash that ends at the first command that fails."""
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def results(self) -> ET.Element:
        return ET.fromstring((self.root / "results.xml").read_bytes())

    def installed(self) -> str:
        return (self.tools / "installed").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    if (made.root / ".algaenv").exists():
        made.run("algaenv down --volumes --yes")


def all_passed(machine: Machine) -> bool:
    suites = machine.results().findall("testsuite")
    return bool(suites) and all(it.get("failures") == "0" for it in suites)


def nothing_is_left(machine: Machine) -> bool:
    return not [it for it in (machine.root / ".algaenv").glob("*") if it.is_dir()]


def test_the_steps_of_github_actions(machine: Machine) -> None:
    """With a check that fails, since that runs the steps for failures, too."""
    machine.new_extension()
    spec = machine.root / "algaenv.yaml"
    spec.write_text(spec.read_text() + "      - call: GET /none\n")
    machine.environ |= {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(machine.root)}
    line = len(spec.read_text().splitlines())
    failed = False
    for condition, command in github_steps():
        if condition == {False: "failure()", True: "success()"}[failed]:
            continue
        if command.startswith("algaenv test"):
            said = machine.run(command, 10)
            failed = True
            place = f"::error file=algaenv.yaml,line={line},col="
            assert place in said, said
            continue
        said = machine.run(command)
        if command.startswith("algaenv up"):
            assert "::group::algaenv up\n" in said
            assert "\n::endgroup::\n" in said
    assert failed
    assert "install algaenv" in machine.installed()
    assert [it.get("failures") for it in machine.results()] == ["1"]
    assert (machine.root / "algaenv.log").stat().st_size
    assert nothing_is_left(machine)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_job_of_gitlab(machine: Machine) -> None:
    (job,) = documents()[1].values()
    machine.use_sample("hours")
    cache = str(job["variables"]["XDG_CACHE_HOME"])
    assert cache.startswith("$CI_PROJECT_DIR/")
    assert job["cache"]["paths"] == [f"{cache.partition('/')[2]}/algaenv"]
    for command in (*job["before_script"], *job["script"]):
        machine.run(command)
    assert job["artifacts"]["reports"]["junit"] == "results.xml"
    assert all_passed(machine)
    assert nothing_is_left(machine)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script(machine: Machine) -> None:
    (script,) = blocks(PAGE, "bash")
    machine.new_extension()
    (machine.root / "ci.sh").write_text(script.text)
    machine.run("bash ci.sh")
    assert "install algaenv" in machine.installed()
    assert all_passed(machine)
    assert nothing_is_left(machine)
