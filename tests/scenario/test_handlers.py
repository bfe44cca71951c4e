"""Handlers: compiled before anybody calls them, and installed only if they can run."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import Any

from tests import guests
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
    url = next(s for s in status["services"] if s["name"] == "runner")["endpoints"]["url"]
    fields = {
        "tenant": status["tenant_id"],
        "extension": hello["registry_id"],
        "content_hash": hello["content_hash"],
    }
    request = urllib.request.Request(
        f"{url}/warmup", json.dumps(fields).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_an_installed_handler_is_compiled_already(project: Project) -> None:
    handler(project, script())
    project.up().ok()
    assert warmups(project) == 1
    said = warm_again(project)
    assert (said["status"], said["handler"], said["bundle"]) == ("ready", True, "cached")


def test_one_that_cannot_run_does_not_replace_one_that_does(project: Project) -> None:
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
        assert problem["summary"].startswith("cannot call bundle/hello@")
        assert "component" in problem["hint"]
        assert project.status()["extensions"] == before
        assert project.sql("SELECT xmin::text FROM tenant_extension_install") == rows
        assert project.page() == page("<h1>hello</h1>")
    handler(project, script(), html="<h1>mended</h1>")
    project.up().ok()
    assert project.page() == page("<h1>mended</h1>")


def test_a_no_op_asks_for_no_handler(project: Project) -> None:
    handler(project, script())
    project.up().ok()
    assert project.up().ok().changed == 0
    assert warmups(project) == 1


def warmups(project: Project) -> int:
    """How often this environment's runner was asked, by its own journal."""
    if project.runtime == "process":
        said = (project.home / "logs" / "runner.log").read_text()
    else:
        name = f"{project.name}-{project.id[:6]}-runner"
        said = subprocess.run(
            ["docker", "logs", name], capture_output=True, text=True, check=True
        ).stdout
    return sum('"/warmup"' in line for line in said.splitlines())
