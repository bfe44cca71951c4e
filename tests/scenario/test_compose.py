"""Docker Compose itself has an environment as a service of its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("engine")]


def compose(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose with the file beside the spec; it finds `algaenv` on PATH."""
    beside = Path(sys.executable).parent
    environ = project.environment()
    environ["PATH"] = os.pathsep.join((str(beside), environ["PATH"]))
    environ["DOCKER_CONFIG"] = str(project.root / "docker-config")
    file = project.root / "compose.yaml"
    name = f"provider-{project.ports['runner']}"
    return subprocess.run(
        [str(beside / "docker-compose"), "-p", name, "-f", str(file), *words],
        cwd=project.root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write(project: Project, image: str = "") -> None:
    provider = {"type": "algaenv", "options": {"file": str(project.file), "extension": ["hello"]}}
    services: dict[str, object] = {"alga": {"provider": provider}}
    if image:
        services["app"] = {"image": image, "depends_on": ["alga"], "network_mode": "none"}
    (project.root / "compose.yaml").write_text(json.dumps({"services": services}))


@pytest.fixture
def image() -> Iterator[str]:
    """An image that needs no registry, and that nothing is run from."""
    name = f"algaenv-test-provider-{os.getpid()}:1"
    made = subprocess.run(
        ["docker", "import", "--change", 'CMD ["/none"]', "-", name],
        input=b"\0" * 1024,  # An archive without a file.
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    yield name
    subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=False)


@docker_slow("running")
def test_compose_brings_it_up_and_down(running: Project, image: str) -> None:
    project = running
    project.extension(html="<h1>composed</h1>", version="0.4.0")
    write(project, image)
    up = compose(project, "up", "--no-start")
    assert up.returncode == 0, up.stderr
    try:
        # What depends on it was made with its addresses.
        (made,) = compose(project, "ps", "--all", "--quiet").stdout.split()
        shown = subprocess.run(
            ["docker", "inspect", "--format", "{{json .Config.Env}}", made],
            capture_output=True,
            text=True,
            check=True,
        )
        address = f"ALGA_RUNNER_URL=http://127.0.0.1:{project.ports['runner']}"
        assert address in json.loads(shown.stdout)
    finally:
        down = compose(project, "down")
    assert down.returncode == 0, down.stderr
    assert {it["state"] for it in project.status()["services"]} == {"absent"}


def test_what_is_wrong_is_an_error_of_compose(make_project: Callable[..., Project]) -> None:
    project = make_project("process")
    write(project)
    project.file.write_text("version: 1\nname: demo\nstroe: {}\n")
    up = compose(project, "up", "--detach")
    assert up.returncode != 0
    assert f"{project.file}:3:1: error[spec-key-unknown]: cannot use" in up.stderr
    assert "hint: did you mean `store`?" in up.stderr
