"""Services of the author's own in a real environment: they live, and are looked at, like ours."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenario.conftest import docker_slow, free_ports
from tests.scenario.project import Project

SERVER = """
import http.server, os, socket, sys
secret = os.environ["MOCK_KEY"]
redis, _, number = os.environ["MOCK_REDIS"].rpartition(":")
socket.create_connection((redis, int(number)), 10).close()  # It answers already.
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/live", "/greeting") else 404)
        self.end_headers()
        self.wfile.write(os.environ["MOCK_GREETING"].encode())
    def log_message(self, form, *words):
        print("asked", self.path, secret, flush=True)
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
KEY = "hunter2-hunter2"


def docker(*words: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["docker", *words],
        input=stdin,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image(running: Project) -> Iterator[str]:
    """For Docker an image that runs Python, made of what the runner's container has."""
    if running.runtime != "docker":
        yield ""
        return
    name = f"algaenv-test/python:{running.id}"
    runner = f"{running.name}-{running.id[:6]}-runner"
    base = docker("inspect", "--format", "{{.Config.Image}}", runner).strip()
    recipe = f'FROM {base}\nUSER 0\nCMD []\nENTRYPOINT ["/usr/local/bin/python3"]\n'
    docker("build", "--tag", name, "-", stdin=recipe)
    yield name
    running.spec.pop("services", None)
    running.write()
    running.up().ok()
    docker("rmi", "--force", name)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@docker_slow("running")
def test_a_service_lives_like_ours(running: Project, image: str) -> None:
    project = running
    fixed = free_ports("mock")["mock"]
    (project.root / "mock").mkdir()
    (project.root / "mock/serve.py").write_text(SERVER)
    arguments = ["{host}", "{port.web}"]
    mock: dict[str, Any] = {
        "process": ["python3", "./mock/serve.py", *arguments],
        "ports": {"web": fixed},
        "environment": {
            "MOCK_GREETING": "hello",
            "MOCK_REDIS": "{address.redis}",
            "MOCK_KEY": {"env": "MOCK_KEY"},
        },
        "ready": {"path": "/live"},
        "needs": ["redis"],
    }
    if image:
        mock |= {
            "image": image,
            "command": ["/mock/serve.py", *arguments],
            "volumes": ["./mock:/mock:ro"],
        }
    project.environ["MOCK_KEY"] = KEY
    project.spec["services"] = {"mock-api": mock}
    project.spec["tasks"] = {
        "ask": {"run": 'echo "$SERVICE_MOCK_API_WEB_URL"', "needs": ["mock-api"], "inputs": []}
    }
    project.write()
    kind = "container" if image else "process"
    address = f"{kind}/mock-api"
    first = project.up().ok()
    assert first.steps()[f"create {address}"] == "done"
    assert first.cause(address) == "missing"
    url = f"http://127.0.0.1:{fixed}"
    assert get(f"{url}/greeting") == "hello"
    assert (project.home / "logs/task-ask.log").read_text() == f"{url}\n"
    assert project.up().ok().changed == 0
    services = {it["name"]: it for it in project.status()["services"]}
    assert services["mock-api"]["state"] == "ready"
    assert services["mock-api"]["endpoints"] == {"web": url}
    variables = project.text("status", "-o", "env").stdout
    assert f"SERVICE_MOCK_API_WEB_URL={url}" in variables.replace("'", "").replace('"', "")
    assert project.text("wait", "mock-api").returncode == 0

    logs = project.text("logs", "mock-api").stdout
    assert "asked /greeting ***" in logs
    assert KEY not in logs
    script = "import os; print('in', os.environ['MOCK_GREETING'])"
    shown = project.text("exec", "mock-api", "--", "python3", "-c", script)
    assert (shown.returncode, shown.stdout) == (0, "in hello\n")
    assert project.text("drift").returncode == 0

    assert project.run("restart", "mock-api").ok().steps() == {f"start {address}": "done"}
    assert get(f"{url}/greeting") == "hello"
    mock["environment"] = {**mock["environment"], "MOCK_GREETING": "ahoy"}
    project.write()
    edited = project.up().ok()
    assert "env.MOCK_GREETING" in edited.cause(address)
    assert get(f"{url}/greeting") == "ahoy"
    assert KEY not in json.dumps([*first.events, *edited.events])

    del project.spec["services"], project.spec["tasks"]
    project.write()
    assert f"delete {address}" in project.up().ok().steps()
    assert "mock-api" not in {it["name"] for it in project.status()["services"]}


def test_a_service_that_does_not_answer_says_why(running_process: Project) -> None:
    project = running_process
    (project.root / "fail.py").write_text("raise SystemExit('no licence for this')\n")
    project.spec["services"] = {
        "broken": {"process": ["python3", "fail.py"], "ports": {"main": "auto"}},
        "absent": {"image": "registry.invalid/absent:1", "ports": {"main": "auto"}},
    }
    project.write()
    refused = project.up()
    assert refused.codes() == {"service-cannot-run"}
    assert refused.changed == 0
    del project.spec["services"]["absent"]
    project.write()
    run = project.up()
    assert run.code != 0
    assert "no licence for this" in json.dumps(run.problems())
