"""An environment that an earlier version made is taken over as it is.

`recorded/*.json` was written by version 0.1.0 for one spec at `/recorded/<runtime>`: the state
directory's files, and the labels of containers and volumes or the records of processes. What a
mark names decides whether a service is replaced, so no field of it may change by accident.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.resource import fingerprint
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project

RECORDED = Path(__file__).parent / "recorded"
DIFFERS = {"program", "image", "version"}
"""Where a program is, which image was made of the packages, and their version."""
DIFFERS_BY_PATH = {"process": {"files.valkey.conf"}, "docker": set[str]()}
"""A keyed digest of a file that names the state directory."""

_SCRATCH = {"env.ALGAENV_SCRATCH_TENANTS": "true"}
_RUNNER = {"env.RUNNER_TRACE_CALLS": "true", **_SCRATCH}
ADDED = {
    "process/runner": _RUNNER,
    "container/runner": _RUNNER,
    "process/gateway": _SCRATCH,
    "container/gateway": _SCRATCH,
}
"""Inputs that a later version has on purpose: its service is replaced once, and keeps its data."""


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """All these have the recorded id: what one takes down would be what another brings up."""
    with (Path(tempfile.gettempdir()) / "algaenv-tests-recorded.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def recorded(runtime: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{runtime}.json").read_text())
    return found


def restored(project: Project, old: Mapping[str, Any]) -> None:
    """Write the state that the earlier version left, as if its checkout had been moved here."""
    project.ports.update(old["ports"])
    project.name = "recorded"
    project.extension()
    home = project.root / ".algaenv" / old["id"]
    home.mkdir(parents=True)
    for name in ("secrets", "last"):
        path = home / f"{name}.json"
        path.write_text(json.dumps(old[name]))
        path.chmod(0o600)


def labels(project: Project) -> dict[str, dict[str, str]]:
    """Address → labels of everything in the engine that is this environment's."""
    found = {}
    for kind, listing in (
        ("container", ("ps", "-aq")),
        ("volume", ("volume", "ls", "-q")),
        ("network", ("network", "ls", "-q")),
    ):
        mark = f"label=dev.algaenv.environment={project.id}"
        names = output("docker", *listing, "--filter", mark).split()
        for each in json.loads(output("docker", kind, "inspect", *names)):
            kept = each["Config"]["Labels"] if kind == "container" else each["Labels"]
            ours = {name: kept[name] for name in kept if name.startswith("dev.algaenv.")}
            found[ours["dev.algaenv.address"]] = ours
    return found


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def records(project: Project) -> dict[str, dict[str, Any]]:
    """Address → record of every process of this environment."""
    found = [json.loads(path.read_text()) for path in (project.home / "run").glob("*.json")]
    return {record["address"]: record for record in found}


def marks(project: Project) -> dict[str, dict[str, Any]]:
    return labels(project) if project.runtime == "docker" else records(project)


def inputs(mark: Mapping[str, Any], runtime: str) -> dict[str, Any]:
    found = mark.get("inputs") or json.loads(mark.get("dev.algaenv.inputs", "{}"))
    differs = DIFFERS | DIFFERS_BY_PATH[runtime]
    return {name: value for name, value in found.items() if name not in differs}


@docker_slow("project")
def test_an_environment_of_an_earlier_version_is_taken_over(project: Project) -> None:
    old = recorded(project.runtime)
    restored(project, old)

    project.up().ok()

    assert project.id == old["id"]
    kept = json.loads((project.home / "secrets.json").read_text())
    assert kept["secrets"] == old["secrets"]["secrets"]
    found = marks(project)
    assert set(found) == set(old["marks"])
    for address, before in old["marks"].items():
        text = json.dumps(inputs(before, project.runtime))
        text = text.replace(f"/recorded/{project.runtime}", str(project.root))
        wanted = json.loads(text) | ADDED.get(address, {})
        assert inputs(found[address], project.runtime) == wanted, address
        assert set(found[address]) == set(before), address
    (row,) = project.sql("SELECT runner_status FROM tenant_extension_install")
    assert row[0] == old["row"]


@pytest.mark.parametrize("address", sorted(recorded("docker")["marks"]))
def test_the_fingerprint_of_the_same_inputs_is_the_same(address: str) -> None:
    mark = recorded("docker")["marks"][address]
    found = json.loads(mark.get("dev.algaenv.inputs", "{}"))
    assert fingerprint(found) == mark["dev.algaenv.fingerprint"]


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_the_saved_intent_of_an_earlier_version_is_read(
    make_project: Callable[..., Project], runtime: str
) -> None:
    project = make_project(runtime)
    restored(project, recorded(runtime))
    project.file.unlink()
    # The spec is gone: what to take down is known from the saved intent alone.
    project.down("--volumes", "--yes").ok()
    assert not (project.root / ".algaenv").exists()
