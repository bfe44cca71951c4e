"""An archive brings an environment up where there is no network and nothing is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.cli.schemas import check
from tests.scenario.project import Project

NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""Loopback, and nothing else."""


@pytest.fixture
def namespaces() -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs the programs `unshare` and `ip`")
    if subprocess.run([*NETWORK, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network namespace")


def offline(
    words: list[str], directory: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*NETWORK, *words],
        cwd=directory,
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def other_user(root: Path) -> dict[str, str]:
    """Nothing of this user, and only the programs of the distribution."""
    home = root / "home"
    home.mkdir()
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "ALGAENV_SUPPORT_BUNDLE": "off"}


def copied(project: Project, root: Path) -> Path:
    """The checkout on another machine, without what this one has made."""
    site = root / "site"
    shutil.copytree(project.root, site, ignore=shutil.ignore_patterns(".algaenv", "*.lock"))
    return site


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_a_machine_without_anything_installs_and_comes_up_from_the_archive(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("process")
    project.extension()
    assert project.text("lock").returncode == 0
    path = tmp_path / "all.tar.zst"
    told = project.text("bundle", "export", str(path), "--json")
    assert told.returncode == 0, told.stderr
    check("bundle", json.loads(told.stdout))
    site, environ = copied(project, tmp_path), other_user(tmp_path)
    # By the words of the how-to: only Python is there.
    python = os.path.realpath(sys.executable)
    subprocess.run(["tar", "--zstd", "-xf", str(path), "wheel"], cwd=tmp_path, check=True)
    offline([python, "-m", "venv", "venv"], tmp_path, environ)
    install = ["venv/bin/pip", "install", "-q", "--no-index", "--find-links", "wheel"]
    offline([*install, "algaenv[embedded]"], tmp_path, environ)
    program = str(tmp_path / "venv" / "bin" / "algaenv")
    imported = json.loads(
        offline([program, "bundle", "import", str(path), "--json"], site, environ).stdout
    )
    check("bundle", imported)
    assert (imported["left_out"], imported["install"]) == ([], "")
    assert (site / "algaenv.lock").read_bytes() == (project.root / "algaenv.lock").read_bytes()
    try:
        offline([program, "up", "--locked"], site, environ)
    finally:
        offline([program, "down", "--volumes", "--yes"], site, environ)


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_a_fresh_home_comes_up_without_a_network(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    """What is installed stays; programs that no wheel brings come from the archive."""
    project = make_project("process")
    project.extension()
    assert project.text("lock").returncode == 0
    path = tmp_path / "all.tar.zst"
    assert project.text("bundle", "export", str(path)).returncode == 0
    site, environ = copied(project, tmp_path), other_user(tmp_path)
    program = [sys.executable, "-m", "algaenv"]
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    offline([*program, "bundle", "import", str(path)], site, environ)
    try:
        offline([*program, "up", "--locked"], site, environ)
    finally:
        offline([*program, "down", "--volumes", "--yes"], site, environ)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("namespaces")
def test_a_handler_in_typescript_is_built_without_a_network(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    """With the esbuild and the jco of the archive, and the node and npm that are there."""
    if shutil.which("node", path="/usr/bin:/bin") is None:
        pytest.skip("needs node among the programs of the distribution")
    project = make_project("process")
    project.extension(
        runtime="wasm-js@1", api={"endpoints": [{"method": "GET", "path": "/x", "handler": "x"}]}
    )
    (project.root / "hello/src").mkdir()
    (project.root / "hello/src/handler.ts").write_text(
        "export function handler() { return { status: 204, headers: [] }; }\n"
    )
    project.spec["extensions"]["hello"]["build"] = "auto"
    project.write()
    project.up().ok()
    there = project.status()["extensions"][0]
    project.down("--volumes", "--yes")
    assert project.text("lock").returncode == 0
    assert "jco" in (project.root / "algaenv.lock").read_text()
    path = tmp_path / "all.tar.zst"
    assert project.text("bundle", "export", str(path)).returncode == 0
    site, environ = copied(project, tmp_path), other_user(tmp_path)
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    program = [sys.executable, "-m", "algaenv"]
    offline([*program, "bundle", "import", str(path)], site, environ)
    try:
        # In one namespace: each has a loopback of its own.
        run = f"{sys.executable} -m algaenv"
        both = f"{run} up --locked --quiet >&2 && {run} status --json"
        shown = json.loads(offline(["sh", "-c", both], site, environ).stdout)
        # jco makes other bytes of the same sources each time, so the digest is not the same.
        assert shown["extensions"][0]["ready"] is True
        assert shown["extensions"][0]["endpoints"] == there["endpoints"]
    finally:
        offline([*program, "down", "--volumes", "--yes"], site, environ)


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_what_was_never_pulled_cannot_be_exported(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("docker")
    project.extension()
    path = tmp_path / "none.tar.zst"
    done = project.text("bundle", "export", str(path), "--images", "pull")
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("offline-missing") == 5
    assert not path.exists()


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.usefixtures("namespaces", "engine")
def test_images_reach_the_engine_through_its_socket(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    """The ports of containers are in another namespace: so it is seen that all is there, and the
    `up` is left to the namespace of the engine."""
    project = make_project("docker")
    project.extension()
    project.up().ok()
    assert project.text("lock").returncode == 0
    path = tmp_path / "all.tar.zst"
    assert project.text("bundle", "export", str(path)).returncode == 0
    project.down("--volumes", "--yes")
    site, environ = copied(project, tmp_path), other_user(tmp_path)
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    environ["PATH"] = os.environ["PATH"]
    program = [sys.executable, "-m", "algaenv"]
    told = offline([*program, "bundle", "import", str(path), "--json"], site, environ)
    imported = json.loads(told.stdout)
    assert imported["left_out"] == []
    assert sum(it["kind"] == "image" for it in imported["entries"]) == 5
    offline([*program, "lock", "--check"], site, environ)
    planned = json.loads(offline([*program, "plan", "--json"], site, environ).stdout)
    steps = {it["address"] for it in planned["plan"]["steps"]}
    assert "container/runner" in steps
    assert not [it for it in steps if it.startswith("image/")]
