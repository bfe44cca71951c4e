"""The same without any privilege, in a program of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import algaenv

NOBODY = 65534
SCRIPT = """
import os, sys
from pathlib import Path
from algaenv.model.problem import Refused
from algaenv.runtimes.process.drivers.lifecycle import terminate
from algaenv.system import processes
from tests.runtimes.process.harness import Harness, shipped_lock, quiet, until
from tests.runtimes.process.clients import answers, kill_supervisor, lists, pongs, start_again

assert os.geteuid() == 65534
unrelated = processes.identify(os.getppid())  # Root's.
try:
    terminate(unrelated, grace=1)
except Refused as error:
    assert error.problem.code == "process-denied"
else:
    raise AssertionError("ended a process of another user")
home = Path(sys.argv[1])
harness = Harness(home, shipped_lock(home))
try:
    harness.up("store", "redis", "database")
    until("all answer", lambda: answers(harness) and pongs(harness) and lists(harness))
    assert harness.record("database")["way"] == "plain"
    harness.delete("store")
    harness.delete("redis")
    kill_supervisor(harness, "database")
    start_again(harness, "database")
    until("the database answers", lambda: answers(harness))
finally:
    harness.sweep()
print("all well")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run without privilege already")
def test_a_user_without_privileges_needs_none() -> None:
    home = Path("/var/tmp") / f"algaenv-{os.getpid()}"  # Others may pass; pytest's they may not.
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    try:
        python = interpreter(home)
        ended = run(python, "-c", SCRIPT, str(home / "home"), home=home)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        assert ended.stdout.endswith("all well\n")
    finally:
        shutil.rmtree(home)


def interpreter(home: Path) -> str:
    """One that everybody may run, and that can import what the test needs."""
    output = ""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            tried = run(python, "-c", "import boto3, psycopg, algaenv.spec.paths", home=home)
        except OSError as error:
            output = str(error)
            continue
        if not tried.returncode:
            return python
        output = tried.stderr[-300:]
    pytest.skip(f"needs an interpreter and packages that every user can read: {output}")


def run(*argv: str, home: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(algaenv.__file__).parent.parent)
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=home,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={
            "PATH": os.defpath,
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join([root, *packages]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
