"""What `new` and `init` write comes up as it is, and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from algaenv.scaffold.templates import templates
from tests.cli import program
from tests.scaffold.alga import make_alga
from tests.scenario.conftest import BOTH
from tests.scenario.handler_project import ask
from tests.scenario.project import Project


@pytest.mark.slow
def test_an_extension_from_a_template_comes_up_and_answers(running: Project) -> None:
    project = running
    # Block style, as people write it.
    project.file.write_text("# mine\n" + yaml.safe_dump(json.loads(project.file.read_text())))
    done = project.text("new", "bills", "--template", "full")
    assert done.returncode == 0, done.stderr
    assert project.file.read_text().startswith("# mine\n")
    run = project.up().ok()
    assert run.steps()["create release/bills"] == "done"
    status, body, from_source = ask(project, "/greeting", "bills")
    assert (status, json.loads(body), from_source) == (200, {"message": "Hello, MSP Admin!"}, False)
    called = project.text("call", "bills", "POST", "/visits")
    assert json.loads(called.stdout) == {"visits": 1}
    assert "<title>Bills</title>" in project.page("bills")
    assert project.up().ok().changed == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runtime", BOTH)
def test_the_checks_of_every_template_pass_from_a_fresh_directory(
    runtime: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if runtime == "docker":
        request.getfixturevalue("engine")
    for template in templates():
        done = program.run(tmp_path, "new", f"my-{template}", "--template", template)
        assert done.returncode == 0, done.stderr
    with (tmp_path / "algaenv.yaml").open("a") as spec:
        spec.write("ready_timeout: 5m\n")  # Two handlers are compiled, beside other tests.
    words = ("--ephemeral", "--runtime", runtime, "--images", "build", "--json")
    tested = subprocess.run(
        [sys.executable, "-m", "algaenv", "test", *words],
        cwd=tmp_path,
        env=program.environ(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    checks = json.loads(tested.stdout)["checks"]
    assert {it["extension"] for it in checks} == {f"my-{it}" for it in templates()}
    assert all(it["passed"] for it in checks)
    assert list(tmp_path.glob(".algaenv-test-*")) == []


@pytest.mark.parametrize(
    "runtime",
    ["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])],
)
def test_a_directory_shaped_like_alga_gets_a_spec_that_comes_up(
    runtime: str, make_project: Callable[..., Project], request: pytest.FixtureRequest
) -> None:
    if runtime == "docker":
        request.getfixturevalue("engine")
    project = make_project(runtime)
    project.file.unlink()
    make_alga(project.root, runner=project.ports["runner"], store=project.ports["store"])
    done = program.run(project.root, "init", "--json")
    assert done.returncode == 0, done.stderr
    # The other ports are the defaults, which something else may hold on the machine of the tests.
    with project.file.open("a") as spec:
        spec.write("ports: auto\nimages: build\n")
    project.up("--runtime", runtime).ok()
    status = project.status()
    services = {it["name"]: it for it in status["services"]}
    assert services["runner"]["endpoints"]["url"].endswith(f":{project.ports['runner']}")
    assert {it["state"] for it in services.values()} == {"ready"}
    assert [it["ready"] for it in status["extensions"]] == [True]
    assert "<html" in project.page("hello-world")
