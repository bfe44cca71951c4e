"""What somebody else changed is found, named, and healed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.params import slow_params
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page, until


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def container(project: Project, service: str) -> str:
    return docker(
        "ps", "-aq",
        "--filter", f"label=dev.algaenv.environment={project.id}",
        "--filter", f"label=dev.algaenv.address=container/{service}",
    )  # fmt: skip


def pid_of(project: Project, service: str) -> int:
    """The pid of the shim that looks after a service."""
    record = json.loads((project.home / "run" / f"{service}.json").read_text())
    shim = record.get("shim") or record
    return int(shim["pid"])


def stop(project: Project, service: str) -> None:
    if project.runtime == "docker":
        docker("stop", "-t", "5", container(project, service))
        return
    pid = pid_of(project, service)
    os.kill(pid, signal.SIGTERM)
    until(f"{service} has ended", lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    "service", ["redis", *slow_params("store", "database", "runner", "gateway")]
)
def test_a_service_stopped_by_hand_is_started(running: Project, service: str) -> None:
    project = running
    stop(project, service)
    kind = "container" if project.runtime == "docker" else "process"
    run = project.up().ok()
    assert run.cause(f"{kind}/{service}").startswith("stopped")
    assert run.steps() == {f"start {kind}/{service}": "done"}
    assert project.page() == page("<h1>hello</h1>")
    assert project.up().ok().changed == 0


@docker_slow("running")
def test_a_service_killed_is_started_and_its_data_is_there(running: Project) -> None:
    project = running
    if project.runtime == "docker":
        for service in ("store", "database"):
            docker("update", "--restart=no", container(project, service))
            docker("kill", container(project, service))
    else:
        for service in ("store", "database"):
            os.kill(pid_of(project, service), signal.SIGKILL)
    run = project.up().ok()
    assert not [step for step in run.steps() if "release" in step or "bundle" in step]
    assert project.page() == page("<h1>hello</h1>")


@pytest.mark.docker
@pytest.mark.parametrize(
    "alter",
    [
        lambda name: docker("rm", "-f", name),
        *slow_params(
            lambda name: docker("rename", name, f"altered-{name}"),
            lambda name: docker("update", "--memory", "500m", "--memory-swap", "500m", name),
            lambda name: docker("pause", name),
        ),
    ],
    ids=["removed", "renamed", "limited", "paused"],
)
def test_a_container_altered_by_hand_is_healed(
    running_docker: Project, alter: Callable[[str], str]
) -> None:
    project = running_docker
    alter(container(project, "redis"))
    run = project.up().ok()
    assert run.cause("container/redis").split(":")[0] in ("drifted", "missing", "stopped")
    assert run.changed == 1
    assert project.up().ok().changed == 0


@pytest.mark.slow
@pytest.mark.docker
def test_a_network_taken_away_is_healed(running_docker: Project) -> None:
    project = running_docker
    network = docker(
        "network", "ls", "-q", "--filter", f"label=dev.algaenv.environment={project.id}"
    )
    docker("network", "disconnect", network, container(project, "runner"))
    assert project.up().ok().cause("container/runner").startswith("drifted")
    ids = docker("ps", "-q", "--filter", f"label=dev.algaenv.environment={project.id}").split()
    docker("rm", "-f", *ids)
    docker("network", "rm", network)
    project.up().ok()
    assert project.page() == page("<h1>hello</h1>")


@pytest.mark.slow
def test_a_deleted_object_is_put_back(running: Project) -> None:
    project = running
    (key,) = project.objects()
    project.s3().delete_object(Bucket="extensions", Key=key)
    run = project.up().ok()
    assert [step.partition("@")[0] for step in run.steps()] == ["create bundle/hello"]
    assert project.objects() == [key]


@pytest.mark.slow
def test_an_object_overwritten_by_hand_is_put_right(running: Project) -> None:
    project = running
    (key,) = project.objects()
    project.s3().put_object(Bucket="extensions", Key=key, Body=b"not a bundle")
    run = project.up().ok()
    (step,) = run.steps()
    assert step.startswith("update bundle/hello@")
    assert run.cause(step.split()[1]).startswith("drifted")
    assert project.up().ok().changed == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE tenant_extension_install SET is_enabled = false", "enabled"),
        *slow_params(
            ('UPDATE extension_version SET api_endpoints = \'[{"method":"GET"}]\'', "endpoints"),
            ("UPDATE extension_bundle SET created_at = NULL", "created"),
            ("DELETE FROM extension_bundle", "bundle"),
            ("DELETE FROM tenant_extension_install_config", "config"),
            (
                "UPDATE tenant_extension_install SET granted_caps = '[\"cap:http.fetch\"]'",
                "granted",
            ),
        ),
    ],
)
def test_a_changed_row_is_named_and_healed(
    running_process: Project, damage: str, said: str
) -> None:
    project = running_process  # rows do not differ between runtimes
    project.sql(damage)
    run = project.up().ok()
    assert run.steps() == {"update release/hello": "done"}
    cause = run.cause("release/hello")
    assert cause.startswith("drifted")
    assert said in cause
    assert project.up().ok().changed == 0


@pytest.mark.slow
def test_an_install_row_deleted_by_hand_is_made_again(running: Project) -> None:
    project = running
    project.sql("DELETE FROM tenant_extension_install")
    run = project.up().ok()
    assert run.steps() == {"create release/hello": "done"}
