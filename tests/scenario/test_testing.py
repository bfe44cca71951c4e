"""`algaenv.testing`: tests of an author, run by pytest as an author runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, until
from tests.scenario.sample_project import use_sample

AUTHORS = Path(__file__).parent / "authors"
CAPABILITIES = ["cap:storage.kv", "cap:http.fetch", "cap:scheduler.manage", "cap:log.emit"]
ENDPOINTS = [{"method": "POST", "path": "/x", "handler": "dist/main"}]


def add_tests(project: Project, file: str) -> Path:
    """Give `hello` a handler that does what it is told, and the author's tests beside it."""
    built = project.root / "hello/dist/main.wasm"
    built.parent.mkdir(parents=True, exist_ok=True)
    built.write_bytes(guests.built("script").read_bytes())
    project.extension(runtime="wasm-js@1", api={"endpoints": ENDPOINTS}, capabilities=CAPABILITIES)
    tests = project.root / "checks"
    tests.mkdir(exist_ok=True)
    (tests / "pytest.ini").write_text("[pytest]\n")
    return Path(shutil.copy(AUTHORS / file, tests / f"test_{file}"))


def run_tests(project: Project, *words: str) -> tuple[int, str]:
    with start_tests(project, *words) as process:
        out, err = process.communicate(timeout=240)
        return process.wait(), out + err


def start_tests(project: Project, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:schemathesis", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        [*command, "-o", "addopts=", str(project.root / "checks"), *words],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tenants(project: Project) -> list[dict[str, Any]]:
    services = {it["name"]: it["endpoints"] for it in project.status()["services"]}
    with urllib.request.urlopen(f"{services['gateway']['url']}/algaenv/tenants") as answer:
        found: list[dict[str, Any]] = json.load(answer)["tenants"]
    return found


@docker_slow("running")
def test_tests_run_side_by_side_and_leave_nothing(running: Project) -> None:
    project = running
    add_tests(project, "passing.py")
    code, out = run_tests(project, "-n", "4")
    assert code == 0, out
    assert re.search(r"2\d passed", out), out
    assert tenants(project) == []
    # What the tests had stored, and their installs, are no business of `up`.
    assert project.up().ok().changed == 0


@pytest.mark.slow
def test_the_tests_of_a_sample_pass_side_by_side(running: Project) -> None:
    project = running
    root = use_sample(project, "notes", {"notes": {"source": "./notes"}})
    (root / "dist").mkdir()
    shutil.copy(guests.built("sample-notes"), root / "dist/main.wasm")
    shutil.copytree(root / "tests", project.root / "checks")
    (project.root / "checks/pytest.ini").write_text("[pytest]\nalgaenv_file = ..\n")
    code, out = run_tests(project, "-n", "4")
    assert code == 0, out
    assert "10 passed" in out, out
    assert tenants(project) == []


def test_a_failure_says_what_the_handler_did(running_process: Project) -> None:
    project = running_process
    add_tests(project, "failing.py")
    code, out = run_tests(project)
    assert code == 1
    assert "2 failed, 1 passed, 1 error" in out, out
    assert "no response was prepared for what a handler asked" in out
    assert "GET https://api.example.com/x" in out
    assert "algaenv.http.respond" in out
    shown = out.partition("test_the_handler_traps")[2]
    assert "hello: POST /x → 500" in shown
    assert "the last words" in shown
    assert "the spec has hello" in out
    assert tenants(project) == []


@pytest.mark.slow
def test_what_a_killed_run_left_is_deleted_by_the_next(running_process: Project) -> None:
    project = running_process
    file = add_tests(project, "failing.py")
    file.write_text(
        "import os, signal\n\n\n"
        "def test_it(algaenv):\n"
        "    algaenv.storage('n').put('a', 1)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code, out = run_tests(project)
    assert code == -signal.SIGKILL, out
    (left,) = tenants(project)
    assert str(os.getpid()) not in left["owner"]
    file.write_text("def test_it(algaenv):\n    assert algaenv.storage('n').list() == {}\n")
    code, out = run_tests(project)
    assert code == 0, out
    assert tenants(project) == []


def test_an_environment_that_does_not_come_up_fails_the_tests(running_process: Project) -> None:
    project = running_process
    add_tests(project, "failing.py")
    project.spec["extensions"]["hello"]["build"] = "echo broken >&2; exit 1"
    project.write()
    code, out = run_tests(project, "-n", "2")
    assert code == 1
    assert "3 errors" in out, out
    assert "cannot bring up" in out
    assert "build-failed" in out


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_an_ephemeral_environment_ends_with_the_run(running_process: Project, killed: bool) -> None:
    project = running_process
    own = project.id
    file = add_tests(project, "failing.py")
    ending = "os.kill(os.getpid(), signal.SIGKILL)" if killed else "pass"
    file.write_text(
        "import os, signal\nfrom pathlib import Path\n\n\n"
        "def test_it(algaenv):\n"
        "    Path('seen').write_text(algaenv.environment.name)\n"
        f"    {ending}\n"
    )
    code, out = run_tests(project, "--algaenv-ephemeral", "--algaenv-runtime", "process")
    assert code == (-signal.SIGKILL if killed else 0), out
    assert (project.root / "seen").read_text().startswith("demo-test-")

    def gone() -> bool:
        homes = [it.name for it in (project.root / ".algaenv").iterdir() if it.is_dir()]
        return homes == [own] and not list(project.root.glob(".algaenv-test-*"))

    until("the environment is gone", gone)
