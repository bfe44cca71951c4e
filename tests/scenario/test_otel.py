"""Spans of an environment that is up, on both runtimes."""

from __future__ import annotations

import json

import pytest

from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project
from tests.scenario.test_logs import call, with_handler
from tests.serving.collector import collector

KEY = "key-of-the-collector"
GETS = {"calls": [{"fn": "storage.get", "args": ["notes", "a"]}]}


@docker_slow("running")
@pytest.mark.timeout(240)
def test_a_call_arrives_at_a_collector_of_this_machine(running: Project) -> None:
    project = running
    # Containers reach this machine at another address than 127.0.0.1.
    with collector("0.0.0.0" if project.runtime == "docker" else "127.0.0.1") as it:
        endpoint = it.url.replace("127.0.0.1", "localhost")
        project.spec["otel"] = {"endpoint": endpoint, "headers": {"x-api-key": KEY}}
        with_handler(project)
        request = call(project, GETS)
        names = {"run handler", "storage.get"}
        found = it.wait(
            lambda spans: (
                names <= {each.name for each in spans}
                and any(each.attributes.get("algaenv.request.id") == request for each in spans)
                and "algaenv-gateway" in {each.service for each in spans}
            )
        )
        (top,) = [
            each
            for each in found
            if each.service == "algaenv-gateway"
            and each.attributes["algaenv.request.id"] == request
        ]
        below = {each.name: each for each in found if each.trace == top.trace}
        assert below["run handler"].parent == top.id
        assert below["storage.get"].parent == below["run handler"].id
        assert {each.service for each in found} == {"algaenv-gateway", "algaenv-runner"}
        assert {each.resource["service.namespace"] for each in found} == {project.name}
        assert {headers.get("x-api-key") for _, headers in it.requests} == {KEY}
        assert KEY not in json.dumps(project.up().ok().events)
    assert KEY not in project.text("logs", "--tail", "all").stdout
