"""What is done to an environment that is up: going back, restarting, waiting, looking into it."""

from __future__ import annotations

import json

from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page


@docker_slow("running")
def test_going_back_and_forth_between_versions(running: Project) -> None:
    project = running
    project.extension(html="<h1>older</h1>", version="0.1.0")
    project.up().ok()
    project.extension(html="<h1>newer</h1>", version="0.2.0")
    project.up().ok()
    listed = json.loads(project.text("rollback", "hello", "--json").stdout)["versions"]
    assert [(it["version"], it["current"]) for it in listed] == [("0.2.0", True), ("0.1.0", False)]
    back = project.run("rollback", "hello", "--to", "0.1.0").ok()
    assert back.steps() == {"update release/hello": "done"}
    assert project.page() == page("<h1>older</h1>")
    (shown,) = project.status()["extensions"]
    assert (shown["version"], shown["ready"]) == ("0.1.0", True)
    planned = project.text("plan")
    assert "manifest version 0.1.0 → 0.2.0" in planned.stdout
    # The source says so; and what was gone back to is kept as the version before.
    assert project.up().ok().steps() == {"update release/hello": "done"}
    assert project.page() == page("<h1>newer</h1>")
    assert len(project.objects()) == 2


@docker_slow("running")
def test_a_restart_starts_one_service_anew_and_changes_nothing_else(running: Project) -> None:
    project = running
    project.keep_a_row()
    before = {it["name"]: it for it in project.status()["services"]}
    kind = "container" if project.runtime == "docker" else "process"
    for service in ("runner", "database"):
        run = project.run("restart", service).ok()
        assert run.steps() == {f"start {kind}/{service}": "done"}
        assert run.cause(f"{kind}/{service}") == "restarted"
    assert {it["name"]: it for it in project.status()["services"]} == before
    assert project.kept()
    assert project.page() == page("<h1>hello</h1>")
    assert project.up().ok().changed == 0
