"""The gateway as a service: it comes up with the rest, is asked by the runner, and is called."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests import guests
from tests.scenario.project import Project, get
from tests.scenario.test_handlers import handler


def endpoint(project: Project, service: str) -> str:
    found = next(s for s in project.status()["services"] if s["name"] == service)
    return str(found["endpoints"]["url"])


def call(project: Project, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = project.text("call", *arguments, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_it_calls_handlers_and_shows_pages(running: Project) -> None:
    project = running
    handler(project, guests.built("script").read_bytes())
    project.spec["gateway"] = {
        "port": project.ports["gateway"],
        "users": [{"name": "glinda", "display_name": "Glinda of Oz"}],
    }
    project.write()
    project.up().ok()
    assert project.up().ok().changed == 0
    with urllib.request.urlopen(f"{endpoint(project, 'gateway')}/readyz", timeout=10) as answer:
        states = json.loads(answer.read())
    assert states == {"ready": True, "database": "ok", "runner": "ok", "redis": "ok"}

    code, answered = call(project, "hello", "/x")
    assert (code, answered["status"]) == (0, 200), answered
    code, refused = call(project, "hello", "/y")
    assert (code, refused["status"]) == (9, 404)
    assert refused["trouble"]["hint"]

    (hello,) = project.status()["extensions"]
    assert set(hello["portal_urls"]) == {"msp"}
    page = hello["portal_urls"]["msp"]
    assert project.text("open", "hello").stdout == f"{page}\n"
    assert "Glinda of Oz" in get(page)
    for wrong, hint in (("helo", "did you mean `hello`?"), ("com.example.none", "hello")):
        done = project.text("open", wrong)
        assert (done.returncode, done.stdout) == (7, "")
        assert "error[extension-unknown]" in done.stderr
        assert hint in done.stderr
    assert "did you mean `hello`?" in project.text("call", "helo", "/x").stderr
    assert project.text("open", hello["registry_id"]).stdout == f"{page}\n"
    assert hello["call_url"].startswith(endpoint(project, "gateway"))


@pytest.mark.slow
def test_without_one_nothing_is_called(running: Project) -> None:
    project = running
    project.spec["gateway"] = "none"
    project.write()
    run = project.up().ok()
    kind = "container" if project.runtime == "docker" else "process"
    assert [step for step in run.steps() if step.endswith("/gateway")] == [f"delete {kind}/gateway"]
    assert project.up().ok().changed == 0
    done = project.text("call", "hello", "/x")
    assert done.returncode == 7
    assert "gateway-none" in done.stderr
    (hello,) = project.status()["extensions"]
    assert hello["portal_urls"] == {}


@pytest.mark.slow
def test_a_renamed_environment_keeps_its_tenant(running: Project) -> None:
    project = running
    before = project.status()["tenant_id"]
    project.name = "renamed"
    project.write()
    project.up().ok()
    assert project.status()["tenant_id"] == before
    code, answered = call(project, "hello", "/x")
    assert (code, answered["status"]) == (9, 404), "the install is found, the endpoint is not"
    assert answered["body"]["error"] == "endpoint_not_found"
    assert project.up().ok().changed == 0
