"""The command line of `test`, up to where an environment would come up; and programs it runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from algaenv.cli.child import run_program
from algaenv.cli.dispatch import read_command_line
from algaenv.cli.exit_codes import ExitCode
from algaenv.model.problem import Refused
from tests.cli.program import ROOT, environ, run
from tests.scenario.project import until

SPEC = """name: demo
extensions:
  hello:
    source: ./hello
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/manifest.json").write_text("{}")
    (tmp_path / "algaenv.yaml").write_text(SPEC)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], ExitCode.RESOURCE, "no extension has checks"),
        (["hello", "--ephemeral"], ExitCode.RESOURCE, "no extension has checks"),
        (["--"], ExitCode.USAGE, "cannot run nothing"),
        (["--junit", "r.xml", "--", "true"], ExitCode.USAGE, "results of a program"),
        (["--junit", "no/r.xml"], ExitCode.USAGE, "there is no directory"),
    ],
)
def test_what_cannot_be_tested_is_refused_first(
    demo: Path, arguments: list[str], code: ExitCode, said: str
) -> None:
    done = run(demo, "test", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert {it.name for it in demo.iterdir()} == {"algaenv.yaml", "hello"}


@pytest.mark.parametrize("key", ["gateway: none", "gateway: {url: http://localhost:3000}"])
def test_without_a_gateway_there_is_nothing_to_ask(demo: Path, key: str) -> None:
    (demo / "algaenv.yaml").write_text(f"{SPEC}    checks: [GET /x]\n{key}\n")
    done = run(demo, "test", "--json")
    assert done.returncode == ExitCode.RESOURCE
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["code"] == "test-nothing"
    assert "no gateway" in problem["summary"]


def test_somebody_elses_database_gets_no_environment_of_its_own(demo: Path) -> None:
    url = "postgresql://alga:pass@localhost:5432/server"
    tenant = "51bbbfe5-0720-4d9b-b3e5-b5b43e441a52"
    more = f"database: {{url: {url}}}\ngateway: bundled\ntenant: {{id: {tenant}}}\n"
    (demo / "algaenv.yaml").write_text(f"{SPEC}    checks: [GET /x]\n{more}")
    done = run(demo, "test", "--ephemeral")
    assert done.returncode == ExitCode.RESOURCE
    assert "test-external" in done.stderr
    assert {it.name for it in demo.iterdir()} == {"algaenv.yaml", "hello"}


def test_what_follows_two_dashes_is_a_program_and_nothing_else_is() -> None:
    _, own = read_command_line(["-q", "test", "a", "--json", "--", "npm", "test", "--", "-x"])
    assert own is not None
    assert (own.program, own.extensions, own.json) == (["npm", "test", "--", "-x"], ["a"], True)
    _, own = read_command_line(["test", "--", "npm"])
    assert own is not None
    assert (own.program, own.extensions) == (["npm"], [])
    _, own = read_command_line(["call", "a", "--", "-x"])
    assert own is not None
    assert (own.program, own.path) == (None, "-x")


def test_a_program_ends_with_its_code_or_its_signal(tmp_path: Path) -> None:
    variables = {**os.environ, "GREETING": "hello"}
    assert run_program(["sh", "-c", 'test "$GREETING" = hello && exit 7'], variables) == 7
    assert run_program(["sh", "-c", "kill -9 $$"], variables) == 128 + signal.SIGKILL
    (tmp_path / "plain").write_text("no program")
    for words in (["no-such-program"], [str(tmp_path / "plain")], [str(tmp_path)]):
        with pytest.raises(Refused, match="program-missing"):
            run_program(words, variables)


def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "started"
    inner = f"trap 'touch {tmp_path}/told; exit 0' TERM; touch {started}; sleep 60 & wait"
    code = (
        "import os\n"
        "from algaenv.cli.child import run_program\n"
        "from algaenv.cli.signals import sigterm_as_interrupt\n"
        "with sigterm_as_interrupt():\n"
        f"    run_program(['sh', '-c', {inner!r}], os.environ)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ(tmp_path),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until("the program runs", started.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != 0
        assert (tmp_path / "told").exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
