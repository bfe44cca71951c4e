"""What `new` writes comes up as it is, and answers."""

from __future__ import annotations

import json

import yaml

from tests.scenario.conftest import docker_slow
from tests.scenario.handler_project import ask
from tests.scenario.project import Project


@docker_slow("running")
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
