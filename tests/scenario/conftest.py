"""Projects on both runtimes; what a failed scenario leaves is printed before it is removed."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenario.project import Project


def engine_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=120)
    return done.returncode == 0


@pytest.fixture(scope="session")
def engine() -> None:
    if not engine_answers():
        pytest.skip("needs a Docker engine: none answers")


def free_ports(*names: str) -> dict[str, int]:
    """Ports nobody listens on, below the range that Linux takes for outgoing connections."""
    found: dict[str, int] = {}
    for name in names:
        while name not in found:
            port = random.randrange(10_000, 20_000)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in found.values():
                found[name] = port
    return found


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    made: list[Project] = []

    def make(runtime: str, name: str = "demo") -> Project:
        root = tmp_path / f"{name}{len(made)}"
        root.mkdir()
        ports = free_ports("store", "console", "redis", "database", "runner", "gateway")
        project = Project(root, runtime, ports, name)
        project.write()
        made.append(project)
        return project

    yield make
    for project in made:
        project.clean()


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def project(request: pytest.FixtureRequest, make_project: Callable[..., Project]) -> Project:
    """A project with one UI-only extension, `hello`, that nothing has been done for yet."""
    if request.param == "docker":
        request.getfixturevalue("engine")
    made = make_project(request.param)
    made.extension()
    return made
