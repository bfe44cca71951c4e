"""Podman in Docker's place: what scenarios on Docker show, on one run by root and by a user."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.scenario.handler_project import add_handler, ask
from tests.scenario.own_podman import OwnPodman
from tests.scenario.project import Project, page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(params=["root", "rootless"])
def podman(request: pytest.FixtureRequest) -> Iterator[OwnPodman]:
    engine = OwnPodman(rootless=request.param == "rootless")
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


@pytest.fixture
def project(make_project: Callable[..., Project], podman: OwnPodman) -> Iterator[Project]:
    made = make_project("docker")
    made.environ["DOCKER_HOST"] = podman.host
    yield made
    made.clean()


def test_it_runs_an_environment(project: Project, podman: OwnPodman) -> None:
    project.extension()
    project.spec["gateway"] = {"port": project.ports["gateway"]}
    add_handler(project, "first")
    project.up().ok()
    status, answer, from_source = ask(project, "/x")
    assert (status, from_source) == (200, False), answer

    # What Podman says of networks, images and owners is no change.
    assert project.up().ok().changed == 0
    assert project.text("drift").returncode == 0

    (project.root / "hello/ui/index.html").write_text(page("<h1>second</h1>"))
    project.up().ok()
    assert project.page() == page("<h1>second</h1>")

    podman.ask("stop", "-t", "5", container(podman, "redis"))
    report = project.text("drift")
    assert report.returncode == 2
    assert "container/redis" in report.stdout
    project.up().ok()

    # Data outlives its containers.
    project.keep_a_row()
    project.down().ok()
    assert names(podman, "ps", "-a") == []
    project.up().ok()
    assert project.kept()

    project.down("--volumes", "--yes").ok()
    assert names(podman, "ps", "-a") == []
    # Native code of the shell is shared by the environments of a user.
    left = [it for it in names(podman, "volume", "ls") if not it.startswith("algaenv-shell-code")]
    assert left == []
    assert names(podman, "network", "ls") == ["podman"]


def names(podman: OwnPodman, *words: str) -> list[str]:
    """Of containers, volumes or networks."""
    found = json.loads(podman.ask(*words, "--format", "json").stdout or "[]") or []
    return [str(it.get("Names", it.get("Name", it.get("name")))) for it in found]


def container(podman: OwnPodman, service: str) -> str:
    """The name of the container of a service."""
    labelled = f"label=dev.algaenv.address=container/{service}"
    return podman.ask("ps", "--filter", labelled, "--format", "{{.Names}}").stdout.strip()
