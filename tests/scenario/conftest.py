"""Projects on both runtimes; what a failed scenario leaves is printed before it is removed."""

from __future__ import annotations

import functools
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import own_cache
from tests.scenario.own_engine import OwnEngine
from tests.scenario.project import Project, Run


def engine_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=120)
    return done.returncode == 0


@pytest.fixture(scope="session")
def engine() -> None:
    if not engine_answers():
        pytest.skip("needs a Docker engine: none answers")


PORTS_OF_A_PROCESS = 500
_given: deque[int] = deque(maxlen=PORTS_OF_A_PROCESS - 100)


def free_ports(*names: str) -> dict[str, int]:
    """Ports nobody listens on, below the range that Linux takes for outgoing connections.

    Test processes that run side by side take them from ranges of their own: what one has found is
    free until an environment comes up, which takes seconds. So a port is not given a second time
    until most of the range has been.
    """
    first = 10_000 + PORTS_OF_A_PROCESS * (os.getpid() % 20)
    found: dict[str, int] = {}
    for name in names:
        while name not in found:
            port = random.randrange(first, first + PORTS_OF_A_PROCESS)
            if port in _given:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            found[name] = port
            _given.append(port)
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


BOTH = ["process", pytest.param("docker", marks=pytest.mark.docker)]
docker_slow = functools.partial(
    pytest.mark.parametrize,
    argvalues=["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])],
    indirect=True,
)
"""`project` or `running` on both runtimes, of which processes are in `make test`."""


@pytest.fixture(params=BOTH)
def project(request: pytest.FixtureRequest, make_project: Callable[..., Project]) -> Project:
    """A project with one UI-only extension, `hello`, that nothing has been done for yet."""
    if request.param == "docker":
        request.getfixturevalue("engine")
    made = make_project(request.param)
    made.extension()
    return made


class RunningEnvironments:
    """One environment a runtime that is up, shared by all tests of this process.

    A test may change what it likes: before the next one gets it, files and spec are written anew
    and `up` brings everything back to them. Bringing it up from nothing costs ten times as much.
    """

    def __init__(self, directory: Callable[[str], Path]) -> None:
        self._directory = directory
        self._made: dict[str, Project] = {}
        self.first_runs: dict[str, Run] = {}
        """Of each runtime the `up` that made its environment from nothing."""

    def get(self, runtime: str) -> Project:
        """The environment as it is after a first `up` with the one extension `hello`."""
        project = self._made.get(runtime)
        if project is None or self._reset(project, runtime).code != 0:
            self.clean(runtime)
            project = self._made[runtime] = self._new(runtime)
            # As a person starts it: `test_a_fresh_up_ends_with_a_page_that_answers` looks at it.
            project.fresh_interpreter = True
            self.first_runs[runtime] = project.up().ok()
            project.fresh_interpreter = False
        return project

    def _new(self, runtime: str) -> Project:
        ports = free_ports("store", "console", "redis", "database", "runner", "gateway")
        project = Project(self._directory(runtime), runtime, ports)
        project.extension()
        return project

    def _reset(self, project: Project, runtime: str) -> Run:
        for path in project.root.iterdir():
            if path.is_dir() and path.name != ".algaenv":
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        project.name = "demo"
        project.runtime = runtime
        project.spec = {"keep_versions": 0}
        project.environ = {}
        project.extension()
        run = project.up()
        # The bundles of earlier tests are gone; the next test has the usual retention.
        del project.spec["keep_versions"]
        project.write()
        return run

    def clean(self, *runtimes: str) -> None:
        """Take environments down, or all of them."""
        for runtime in runtimes or tuple(self._made):
            project = self._made.pop(runtime, None)
            if project is not None:
                # A test may have left the address of an engine that is gone by now.
                project.environ = {}
                project.clean()


@pytest.fixture(scope="session")
def running_environments(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningEnvironments]:
    made = RunningEnvironments(tmp_path_factory.mktemp)
    with pytest.MonkeyPatch.context() as patch:
        own_cache(tmp_path_factory, patch)
        yield made
        made.clean()


@pytest.fixture
def running_process(running_environments: RunningEnvironments) -> Project:
    """An environment of processes that is up; shared, see `RunningEnvironments`."""
    return running_environments.get("process")


@pytest.fixture
def running_docker(engine: None, running_environments: RunningEnvironments) -> Project:
    """An environment of containers that is up; shared, see `RunningEnvironments`."""
    return running_environments.get("docker")


@pytest.fixture(params=BOTH)
def running(request: pytest.FixtureRequest) -> Project:
    """An environment that is up on each runtime in turn; shared, see `RunningEnvironments`."""
    found: Project = request.getfixturevalue(f"running_{request.param}")
    return found


@pytest.fixture
def own_engine(engine: None) -> Iterator[OwnEngine]:
    """A second engine that may be killed: its own data, bridge and socket."""
    # The path of a socket has to be short, which pytest's directories are not.
    root = Path(tempfile.mkdtemp(prefix="ae-"))
    yield OwnEngine(root)
    shutil.rmtree(root)
