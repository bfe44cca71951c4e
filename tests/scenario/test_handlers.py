"""Handlers: compiled before anybody calls them, and installed only if they can run."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import pytest

from tests import guests
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page

ENDPOINTS = [{"method": "GET", "path": "/x", "handler": "handler"}]


def handler(project: Project, wasm: bytes, html: str = "<h1>hello</h1>", **manifest: Any) -> None:
    """Give `hello` a handler."""
    built = project.root / "hello" / "dist" / "main.wasm"
    built.parent.mkdir(parents=True, exist_ok=True)
    built.write_bytes(wasm)
    project.extension(html=html, runtime="wasm-js@1", api={"endpoints": ENDPOINTS}, **manifest)


def script() -> bytes:
    return guests.built("script").read_bytes()


def warm_again(project: Project) -> dict[str, Any]:
    """What the runner says when it is asked once more."""
    status = project.status()
    (hello,) = status["extensions"]
    fields = {
        "tenant": status["tenant_id"],
        "extension": hello["registry_id"],
        "content_hash": hello["content_hash"],
    }
    return post(project, "/warmup", fields)


def post(
    project: Project, path: str, fields: object, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Ask the runner, with the token unless other headers are given."""
    services = project.status()["services"]
    url = next(each for each in services if each["name"] == "runner")["endpoints"]["url"]
    if headers is None:
        headers = {"x-runner-service-token": project.secrets()["RUNNER_SERVICE_TOKEN"]}
    sent = {"content-type": "application/json", **headers}
    request = urllib.request.Request(f"{url}{path}", json.dumps(fields).encode(), sent)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_handlers_are_nobody_elses_to_call_and_do_not_reach_the_environment(
    running: Project,
) -> None:
    project = running
    handler(project, script(), capabilities=["cap:http.fetch"])
    project.up().ok()
    status = project.status()
    (hello,) = status["extensions"]
    services = {each["name"]: each["endpoints"] for each in status["services"]}
    ports = {
        name: str(ends["url"]).rpartition(":")[2]
        for name, ends in services.items()
        if "url" in ends
    }
    closed = [
        f"http://{host}:{port}/" for host in ("127.0.0.1", "localhost") for port in ports.values()
    ]
    if project.runtime == "docker":
        closed += ["http://store:9000/", "http://runner:8080/", "http://gateway:3000/"]
        closed += ["http://redis:6379/", "http://database:5432/"]
    closed.append("http://169.254.169.254/latest/meta-data/")
    ask: list[object] = [
        {"method": "GET", "url": url, "headers": [], "body": None} for url in closed
    ]
    calls = {"calls": [{"fn": "http.fetch", "args": [each]} for each in ask]}
    fields = {
        "context": {
            "tenant_id": status["tenant_id"],
            "extension_id": hello["registry_id"],
            "content_hash": hello["content_hash"],
        },
        "http": {
            "method": "POST",
            "path": "/x",
            "body_b64": b64encode(json.dumps(calls).encode()).decode(),
        },
        "limits": {"timeout_ms": 30_000},
        "providers": ["cap:http.fetch"],
    }
    routing = {"x-alga-tenant": status["tenant_id"], "x-alga-extension": hello["registry_id"]}
    for path in ("/v1/execute", "/warmup"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(project, path, fields, routing)
        with refused.value as answer:
            assert answer.code == 401
    token = {"x-runner-service-token": project.secrets()["RUNNER_SERVICE_TOKEN"]}
    output = post(project, "/v1/execute", fields, {**routing, **token})
    assert output["status"] == 200, output
    results = json.loads(b64decode(output["body_b64"]))["results"]
    assert results == [{"err": "not-allowed"}] * len(closed)


@docker_slow("running")
def test_an_installed_handler_is_compiled_already(running: Project) -> None:
    project = running
    before = warmups(project)
    handler(project, script(), html="<h1>compiled</h1>")
    steps = project.up().ok().report["steps"]
    assert [it["outcome"] for it in steps if it["verb"] == "prewarm"] == ["done"]
    assert warmups(project) == before + 1
    output = warm_again(project)
    assert (output["status"], output["handler"], output["bundle"]) == ("ready", True, "cached")


@pytest.mark.slow
def test_one_that_cannot_run_does_not_replace_one_that_does(running: Project) -> None:
    project = running
    handler(project, script())
    project.up().ok()
    before = project.status()["extensions"]
    rows = project.sql("SELECT xmin::text FROM tenant_extension_install")
    # A core module: the binary is sound, but it is no component.
    handler(project, b"\0asm\x01\0\0\0", html="<h1>broken</h1>")
    for _ in range(2):
        run = project.up()
        assert run.code == 7
        assert run.codes() == {"handler-broken"}
        (problem,) = run.problems()
        assert problem["summary"].startswith("bundle/hello@")
        assert "component" in problem["hint"]
        assert project.status()["extensions"] == before
        assert project.sql("SELECT xmin::text FROM tenant_extension_install") == rows
        assert project.page() == page("<h1>hello</h1>")
    handler(project, script(), html="<h1>mended</h1>")
    project.up().ok()
    assert project.page() == page("<h1>mended</h1>")


@docker_slow("running")
def test_a_no_op_asks_for_no_handler(running: Project) -> None:
    project = running
    handler(project, script())
    project.up().ok()
    before = warmups(project)
    again = project.up().ok()
    assert again.changed == 0
    assert all(step["verb"] == "await" for step in again.report["steps"])
    assert warmups(project) == before


def warmups(project: Project) -> int:
    """How often this environment's runner was asked, by its own log."""
    if project.runtime == "process":
        output = (project.home / "logs" / "runner.log").read_text()
    else:
        name = f"{project.name}-{project.id[:6]}-runner"
        output = subprocess.run(
            ["docker", "logs", name], capture_output=True, text=True, check=True
        ).stdout
    return sum('"/warmup"' in line for line in output.splitlines())
