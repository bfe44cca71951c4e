"""What a service may do when root brings it up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import algaenv
from algaenv.runtimes.process.layout import content
from algaenv.runtimes.process.specs import ProcessSpec
from algaenv.runtimes.process.supervisor.privileges import (
    ISOLATION_MODES,
    IsolationMode,
    isolation_for,
)
from tests.runtimes.process.clients import pongs
from tests.runtimes.process.harness import Harness, until

OTHER = 65533
SCRIPT = """
import os, sys
sys.path.append(sys.argv[1])
from algaenv.runtimes.process.supervisor import privileges
privileges.limit_capabilities(sys.argv[2])
privileges.enter_isolation(sys.argv[2])
privileges.drop_privileges(sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has powers to give up")


def run(isolation: IsolationMode, *argv: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(algaenv.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", SCRIPT, root, isolation, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A file that only another user reaches."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    file = folder / "file"
    file.write_text("theirs\n")
    file.chmod(0o600)
    os.chown(file, OTHER, OTHER)
    os.chown(folder, OTHER, OTHER)
    return file


@pytest.mark.parametrize("isolation", ISOLATION_MODES)
def test_nothing_is_kept_but_what_the_mode_needs(isolation: IsolationMode) -> None:
    ended = run(isolation, "/bin/cat", "/proc/self/status")
    if isolation == "namespace" and ended.returncode:
        pytest.skip(f"this machine allows no user namespaces: {ended.stderr[-200:]}")
    status = dict(line.split(":\t", 1) for line in ended.stdout.splitlines() if ":\t" in line)
    kept = {"reading": 1 << 2, "nobody": 1 << 1}.get(isolation, 0)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == kept
    assert status["NoNewPrivs"] == "1"
    if isolation != "namespace":  # In which they mean nothing outside.
        assert int(status["CapBnd"], 16) == kept


def test_only_reading_reaches_what_is_closed_and_writes_none_of_it(closed: Path) -> None:
    assert run("plain", "/bin/cat", str(closed)).returncode != 0
    assert run("reading", "/bin/cat", str(closed)).stdout == "theirs\n"
    assert run("reading", "/usr/bin/env", "touch", str(closed.parent / "new")).returncode != 0


def test_the_way_follows_from_what_has_to_be_reached(closed: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    assert isolation_for([str(own), "/usr/bin/env"]) == "plain"
    assert isolation_for([str(own / "not" / "there")]) == "plain"
    assert isolation_for([str(own), str(closed)]) == "reading"
    (tmp_path / "link").symlink_to(closed)
    assert isolation_for([str(tmp_path / "link")]) == "reading"
    closed.parent.chmod(0o755)
    closed.chmod(0o644)
    assert isolation_for([str(closed)]) == "plain"


def test_data_of_another_user_comes_along(make_harness: Callable[..., Harness]) -> None:
    """Root without capabilities cannot write what another user brought up before."""
    harness = make_harness()
    harness.up("redis")
    until("it answers", lambda: pongs(harness))
    harness.delete("redis")
    (folder,) = (each.folder for each in _bodies(harness) if each.folder)
    place = content(folder)
    for path in (place, *place.rglob("*")):
        os.chown(path, OTHER, OTHER)
        path.chmod(0o700 if path.is_dir() else 0o600)
    harness.up("redis")
    until("it answers again", lambda: pongs(harness))
    assert {path.stat().st_uid for path in (place, *place.rglob("*"))} == {0}


def _bodies(harness: Harness) -> list[ProcessSpec]:
    found = [it.body for it in harness.wanted("redis")]
    return [body for body in found if isinstance(body, ProcessSpec)]
