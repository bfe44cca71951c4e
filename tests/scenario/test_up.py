"""From nothing to an extension that answers, and what each edit then does."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.scenario.conftest import RunningEnvironments, docker_slow
from tests.scenario.project import UNCHANGING, Project, get, page

SERVICES = ("store", "redis", "database", "runner", "gateway")


def service_kind(project: Project) -> str:
    return "container" if project.runtime == "docker" else "process"


def test_a_fresh_up_ends_with_a_page_that_answers(
    running: Project, running_environments: RunningEnvironments
) -> None:
    project = running
    run = running_environments.first_runs[project.runtime]
    kind = service_kind(project)
    steps = run.steps()
    assert {f"create {kind}/{name}" for name in SERVICES} <= set(steps)
    assert {"create bucket/extensions", "create schema/extensions", "create tenant/main"} <= set(
        steps
    )
    assert set(steps.values()) == {"done"}
    status = project.status()
    assert status["environment"]["name"] == "demo"
    assert status["runtime"] == project.runtime
    assert {s["name"]: s["state"] for s in status["services"]} == dict.fromkeys(SERVICES, "ready")
    (hello,) = status["extensions"]
    assert hello["ready"] is True
    assert hello["version"] == "0.1.0"
    assert get(hello["page_url"]) == page("<h1>hello</h1>")
    (key,) = project.objects()
    digest = hello["content_hash"].removeprefix("sha256:")
    assert f"/extensions/{hello['registry_id']}/sha256/{digest}/bundle.tar.zst" in key
    rows = project.sql(
        "SELECT i.id::text, i.tenant_id, b.content_hash FROM tenant_extension_install i"
        " JOIN extension_bundle b ON b.version_id = i.version_id"
    )
    assert rows == [(hello["install_id"], key.split("/")[1], hello["content_hash"])]


@docker_slow("running")
def test_the_golden_ids(running: Project) -> None:
    project = running
    project.extension(
        "hello", publisher="Alga", name="com.alga.sample.hello-world", version="0.1.1"
    )
    project.up().ok()
    (hello,) = project.status()["extensions"]
    assert hello["registry_id"] == "3b8b0204-25d9-57d0-951b-3ed518145469"


def test_a_second_up_changes_nothing(running: Project) -> None:
    project = running
    before = (project.objects(), project.sql("SELECT xmin::text FROM tenant_extension_install"))
    again = project.up().ok()
    assert again.changed == 0
    assert again.steps() == {}
    assert (
        project.objects(),
        project.sql("SELECT xmin::text FROM tenant_extension_install"),
    ) == before
    assert project.text("plan", "--detailed-exitcode").returncode == 0


@pytest.mark.slow
def test_the_plan_is_what_up_does_and_down_with_volumes_leaves_nothing(project: Project) -> None:
    planned = project.text("plan", "--json", "--detailed-exitcode")
    assert planned.returncode == 2, planned.stderr
    steps = json.loads(planned.stdout)["plan"]["steps"]
    drawn = {f"{s['verb']} {s['address']}" for s in steps if s["verb"] not in UNCHANGING}
    assert not (project.root / ".algaenv").exists() or not list(
        (project.root / ".algaenv").glob("*/run/*")
    )
    assert set(project.up().ok().steps()) == drawn
    project.down("--volumes", "--yes").ok()
    assert not (project.root / ".algaenv").exists()


def test_edited_html_is_a_new_object_and_nothing_restarts(running: Project) -> None:
    project = running
    old = project.status()["extensions"][0]
    project.extension(html="<h1>edited</h1>")
    run = project.up().ok()
    new = project.status()["extensions"][0]
    assert old["content_hash"] != new["content_hash"]
    short = new["content_hash"].removeprefix("sha256:")[:12]
    assert run.steps() == {
        f"create bundle/hello@{short}": "done",
        "update release/hello": "done",
    }
    assert "bundle" in run.cause("release/hello")
    assert get(new["page_url"]) == page("<h1>edited</h1>")
    assert len(project.objects()) == 2, "the version before stays for a rollback"
    project.extension(html="<h1>edited again</h1>")
    run = project.up().ok()
    gone = old["content_hash"].removeprefix("sha256:")
    assert run.steps()[f"delete bundle/hello@{gone[:12]}"] == "done"
    keys = project.objects()
    assert len(keys) == 2
    assert not any(gone in key for key in keys)
    newest = project.sql(
        "SELECT content_hash FROM extension_bundle ORDER BY created_at DESC, id DESC LIMIT 1"
    )
    assert newest == [(project.status()["extensions"][0]["content_hash"],)]


@pytest.mark.slow
def test_going_back_to_the_version_before(running: Project) -> None:
    project = running
    first = project.status()["extensions"][0]["content_hash"]
    project.extension(html="<h1>edited</h1>")
    project.up().ok()
    project.extension()
    run = project.up().ok()
    assert run.steps() == {"update release/hello": "done"}
    assert project.status()["extensions"][0]["content_hash"] == first
    assert project.page() == page("<h1>hello</h1>")
    newest = project.sql("SELECT content_hash FROM extension_bundle ORDER BY created_at DESC")
    assert newest[0] == (first,)


def test_a_new_version_says_so(running: Project) -> None:
    project = running
    project.extension(version="0.1.1")
    run = project.up().ok()
    assert "manifest version 0.1.0 → 0.1.1" in run.cause("release/hello")


@pytest.mark.slow
def test_a_second_extension_leaves_the_first_alone(running: Project) -> None:
    project = running
    touched = "SELECT xmin::text FROM tenant_extension_install WHERE registry_id = %s::uuid"
    registry = project.status()["extensions"][0]["registry_id"]
    before = project.sql(touched, registry)
    project.extension("second", "<h1>second</h1>")
    run = project.up().ok()
    assert all("second" in step for step in run.steps()), run.steps()
    assert project.sql(touched, registry) == before
    assert project.page("second") == page("<h1>second</h1>")
    assert project.page("hello") == page("<h1>hello</h1>")


@docker_slow("running")
def test_an_extension_removed_from_the_spec_goes_and_a_foreign_one_stays(running: Project) -> None:
    project = running
    project.extension("second")
    project.up().ok()
    (tenant,) = project.sql("SELECT DISTINCT tenant_id FROM tenant_extension_install")[0]
    foreign = "aaaaaaaa-0000-4000-8000-000000000001"
    project.sql(
        "INSERT INTO extension_registry (id, publisher, name) VALUES (%s::uuid, 'Other', 'x')",
        foreign,
    )
    project.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry)"
        " VALUES (%s::uuid, %s::uuid, '1.0.0', 'wasm-js@1', 'main')",
        foreign,
        foreign,
    )
    project.sql(
        "INSERT INTO tenant_extension_install (id, tenant_id, registry_id, version_id)"
        " VALUES (%s::uuid, %s, %s::uuid, %s::uuid)",
        foreign,
        tenant,
        foreign,
        foreign,
    )
    key = f"tenants/{tenant}/extensions/{foreign}/sha256/{'0' * 64}/bundle.tar.zst"
    project.s3().put_object(Bucket="extensions", Key=key, Body=b"x")
    del project.spec["extensions"]["second"]
    project.write()
    run = project.up().ok()
    assert run.steps().get("delete release/second") == "done"
    assert "no longer in the spec" in run.cause("release/second")
    keys = project.objects()
    assert key in keys
    assert len(keys) == 2
    names = project.sql("SELECT name FROM extension_registry ORDER BY name")
    assert names == [("com.example.hello",), ("x",)]
    assert project.sql("SELECT count(*) FROM tenant_extension_install") == [(2,)]
    project.sql("DELETE FROM tenant_extension_install WHERE id = %s::uuid", foreign)
    project.sql("DELETE FROM extension_version WHERE id = %s::uuid", foreign)
    project.sql("DELETE FROM extension_registry WHERE id = %s::uuid", foreign)
    project.s3().delete_object(Bucket="extensions", Key=key)


def test_down_leaves_nothing_but_data_and_up_finds_it_again(running: Project) -> None:
    project = running
    run = project.down().ok()
    kind = service_kind(project)
    assert {f"delete {kind}/{name}" for name in SERVICES} <= set(run.steps())
    assert "delete release/hello" in run.steps()
    assert run.report["kept"], "it says what it kept"
    assert project.down().ok().changed == 0
    project.up().ok()
    assert project.page() == page("<h1>hello</h1>")


@pytest.mark.slow
def test_down_works_with_the_spec_broken_or_missing(running: Project) -> None:
    project = running
    project.file.write_text("runtime: [")
    assert "delete release/hello" in project.down().ok().steps()
    project.write()
    project.up().ok()
    project.file.unlink()
    assert "delete release/hello" in project.down().ok().steps()
    project.write()


@pytest.mark.slow
def test_config_secrets_and_a_disabled_extension_reach_the_rows(running: Project) -> None:
    project = running
    entry = project.spec["extensions"]["hello"]
    entry |= {"config": {"region": "eu"}, "secrets": {"api_key": "s3cr3t-value"}}
    project.write()
    project.up().ok()
    config = project.sql("SELECT config->>'region' FROM tenant_extension_install_config")
    assert config == [("eu",)]
    entry["secrets"]["api_key"] = "another-value"
    entry["enabled"] = False
    project.write()
    run = project.up().ok()
    cause = run.cause("release/hello")
    assert "secrets.api_key changed" in cause
    assert "enabled true → false" in cause
    everything = json.dumps(run.events) + run.stderr
    assert "another-value" not in everything
    assert "s3cr3t-value" not in everything
    assert project.sql("SELECT is_enabled, status FROM tenant_extension_install") == [
        (False, "disabled")
    ]
    held = project.secrets()
    for path in (project.root / ".algaenv").rglob("*.log"):
        text = path.read_text(errors="replace")
        for name in ("STORAGE_S3_SECRET_KEY", "REDIS_PASSWORD", "DB_PASSWORD_ADMIN"):
            assert held[name] not in text, f"{name} in {path.name}"


@pytest.mark.slow
@docker_slow("running")
def test_a_copy_elsewhere_is_another_environment(running: Project) -> None:
    project = running
    copy = project.root / "copy"
    shutil.copytree(project.root, copy, ignore=shutil.ignore_patterns(".algaenv"))
    other = Project(copy, project.runtime, project.ports, project.name, project.spec)
    run = other.up()
    assert run.code == 7
    assert "port-taken" in run.codes()
    assert run.changed == 0
    taken = [it for it in run.problems() if it["code"] == "port-taken"]
    assert all(f"algaenv down -f {project.file}" in it["hint"] for it in taken)
    assert len(taken) >= 5, "every port is told at once"
    other.clean()
    assert project.up().ok().changed == 0


def test_a_profile_adds_an_extension_and_leaves_it_when_it_is_not_asked_for(
    running_process: Project,
) -> None:
    project = running_process
    project.extension("extra")
    project.spec["extensions"]["extra"]["profiles"] = ["full"]
    project.write()
    assert project.up().ok().changed == 0
    run = project.up("--profile", "full").ok()
    assert "create release/extra" in run.steps()
    assert project.up().ok().changed == 0
    assert project.page("extra") == page("<h1>hello</h1>")
    assert project.up("--profile", "ful").codes() == {"spec-profile-unknown"}
    project.spec["extensions"].pop("extra")
    project.write()
    assert "delete release/extra" in project.up().ok().steps()
