"""A plan is written down, looked at, and carried out; what has changed since is named."""

from __future__ import annotations

import json
import stat

from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page


@docker_slow("running")
def test_a_plan_is_carried_out_or_refused(running: Project) -> None:
    project = running
    file = project.root / "changes.plan"
    project.extension(html="<h1>planned</h1>", version="0.2.0")
    shown = project.text("plan", "--out", str(file), "--json")
    planned = json.loads(shown.stdout)
    assert planned["written"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_text(encoding="utf-8")
    secrets = {name: it for name, it in project.secrets().items() if "PASSWORD" in name}
    assert secrets
    assert not any(secret in kept for secret in secrets.values())
    # Edited since: nothing is changed, and what was edited is named.
    project.extension(html="<h1>edited</h1>", version="0.2.0")
    before = (project.page(), project.keys(), project.status())
    refused = project.run("up", str(file))
    assert (refused.code, refused.codes()) == (11, {"plan-stale"})
    (problem,) = refused.problems()
    assert problem["detail"][0].startswith("bundle of hello: sha256:")
    assert (project.page(), project.keys(), project.status()) == before
    # As it was planned: these steps, and no other.
    project.extension(html="<h1>planned</h1>", version="0.2.0")
    done = project.run("up", str(file)).ok()
    steps = [it for it in planned["plan"]["steps"] if it["verb"] != "await"]
    assert done.steps() == {f"{it['verb']} {it['address']}": "done" for it in steps}
    assert project.page() == page("<h1>planned</h1>")
    # Rows changed by hand since.
    assert project.text("plan", "--out", str(file)).returncode == 0
    project.sql("UPDATE tenant_extension_install SET is_enabled = false")
    refused = project.run("up", str(file))
    (problem,) = refused.problems()
    assert (refused.code, len(problem["detail"])) == (11, 1)
    assert problem["detail"][0].startswith("release/hello was there (")
    assert project.up().ok().changed == 1
    assert project.run("up", str(file)).ok().changed == 0
