"""`doctor` on an environment that is up: what authors of extensions meet most often, made."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from tests.cli.schemas import check
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project
from tests.scenario.test_drift import stop
from tests.scenario.test_handlers import handler
from tests.scenario.test_readiness import minimal

HOOKS: dict[str, Any] = {
    "ui": {"type": "iframe", "entry": "ui/index.html", "hooks": {"appMenu": {"label": "Hi"}}}
}


def examined(project: Project, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Check → its findings that are no success; each says what, why and how to mend it."""
    done = project.text("doctor", "--json", *arguments)
    document = json.loads(done.stdout)
    check("doctor", document)
    assert done.returncode == (10 if document["totals"]["failed"] else 0), done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for it in document["checks"]:
        if it["state"] in {"warning", "failed"}:
            assert it["summary"], it
            assert it["why"], it
            assert len(it["hint"].split()) > 1, it
            found.setdefault(it["id"], []).append(it)
    secrets = [it for name, it in project.secrets().items() if "PASSWORD" in name or "KEY" in name]
    assert not [it for it in secrets if len(it) > 12 and it in done.stdout]
    return found


@docker_slow("running")
def test_what_is_up_and_fine_has_no_failure(running: Project) -> None:
    running.extension(**HOOKS)
    running.up().ok()
    found = examined(running)
    # Of MinIO there is a warning in every spec that names it.
    assert set(found) <= {"schema-line", "spec", "kernel", "disk"}, found
    assert not [it for each in found.values() for it in each if it["state"] == "failed"]


def test_a_runner_that_will_not_start_is_shown_with_its_last_lines(
    running_process: Project,
) -> None:
    project = running_process
    stop(project, "runner")
    found = examined(project)["services"][0]
    assert "the runner will not start: runner has stopped" in found["summary"]
    assert found["detail"]
    assert "`algaenv logs runner`" in found["hint"]


def test_an_install_that_failed_says_why(running_process: Project) -> None:
    project = running_process
    project.extension("second")
    built = project.root / "second" / "dist" / "main.wasm"
    built.parent.mkdir()
    built.write_bytes(b"\0asm\1\0\0\0")
    endpoints = [{"method": "GET", "path": "/x", "handler": "handler"}]
    project.extension("second", runtime="wasm-js@1", api={"endpoints": endpoints})
    assert project.up().code != 0
    (found,) = [it for it in examined(project)["installs"] if it["state"] == "failed"]
    assert "second is in the spec, and not installed" in found["summary"]
    assert any("handler" in line for line in found["detail"])
    assert "`algaenv up second`" in found["hint"]


def test_a_404_and_a_trap_of_a_handler_are_told_from_the_logs(running_process: Project) -> None:
    project = running_process
    handler(project, minimal(traps=True), **HOOKS)
    project.up().ok()
    assert project.text("call", "hello", "/x").returncode == 9
    assert project.text("call", "hello", "/nothing").returncode == 9
    found = examined(project)
    assert any("GET /x of hello trapped" in it["summary"] for it in found["traps"])
    assert any("gateway-trap" in it["summary"] for it in found["traps"])
    (unknown,) = [it for it in found["handlers"] if "/nothing" in it["summary"]]
    assert "answered 404" in unknown["summary"]
    assert "`api.endpoints`" in unknown["hint"]
    endpoints = [{"method": "POST", "path": "/later", "handler": "handler"}]
    project.extension(runtime="wasm-js@1", api={"endpoints": endpoints})
    (later,) = [it for it in examined(project)["handlers"] if it["state"] == "failed"]
    assert later["detail"] == ["POST /later"]


def test_a_blank_iframe_is_told_by_the_page_that_is_served(running_process: Project) -> None:
    project = running_process
    project.extension(html="<script>draw()</script>", **HOOKS)
    project.up().ok()
    (blocked,) = examined(project)["pages"]
    assert "may stay blank" in blocked["summary"]
    assert "inline script" in blocked["summary"]
    project.extension(html="", **HOOKS)
    project.up().ok()
    (blank,) = examined(project)["pages"]
    assert "neither text nor a script" in blank["summary"]


def _forget_bundle(project: Project) -> None:
    """Empty the cache of the runner."""
    kept = project.home / "data" / "runner-bundled" / "content"
    stop(project, "runner")
    shutil.rmtree(kept)
    kept.mkdir()
    project.run("restart", "runner").ok()


def test_bundles_that_are_gone_or_have_other_bytes_have_their_names(
    running_process: Project,
) -> None:
    project = running_process
    (key,) = project.objects()
    content = project.s3().get_object(Bucket="extensions", Key=key)["Body"].read()
    project.s3().put_object(Bucket="extensions", Key=key, Body=content[:-1] + b"x")
    _forget_bundle(project)
    (mismatch,) = examined(project)["pages"]
    assert "archive_hash_mismatch" in mismatch["summary"]
    assert "`algaenv up hello`" in mismatch["hint"]
    project.s3().delete_object(Bucket="extensions", Key=key)
    (gone,) = examined(project)["pages"]
    assert "extract_failed" in gone["summary"]
    assert gone["state"] == "failed"
    project.up().ok()
    assert "pages" not in examined(project)


def test_a_product_without_extensions_is_told(running_process: Project) -> None:
    project = running_process
    project.sql("UPDATE tenants SET product_code = 'algadesk'")
    (found,) = examined(project)["product"]
    assert "algadesk" in found["summary"]
    project.up().ok()
    assert "product" not in examined(project)


def test_a_tenant_that_an_external_database_does_not_know(running_process: Project) -> None:
    project = running_process
    secrets = project.secrets()
    url = (
        f"postgresql://{secrets['DB_USER_ADMIN']}:{secrets['DB_PASSWORD_ADMIN']}"
        f"@127.0.0.1:{project.ports['database']}/{secrets['DB_NAME_SERVER']}"
    )
    known = project.status()["tenant_id"]
    for id_, state in ((known, "ok"), ("00000000-0000-4000-8000-000000000000", "failed")):
        other = project.root / f"other-{state}"
        other.mkdir()
        spec = {"version": 1, "name": "other", "runtime": "process", "database": {"url": url}}
        spec |= {"tenant": {"id": id_}}
        (other / "algaenv.yaml").write_text(json.dumps(spec))
        done = Project(other, "process", {}).text("doctor", "--json", "--no-bundle")
        (found,) = [it for it in json.loads(done.stdout)["checks"] if it["id"] == "tenant"]
        assert found["state"] == state, found
        assert secrets["DB_PASSWORD_ADMIN"] not in done.stdout
    assert id_ in found["summary"]
    assert found["hint"]


def test_another_environment_on_a_port_is_named(running_process: Project) -> None:
    project = running_process
    other = project.root / "other"
    other.mkdir()
    spec = {"version": 1, "name": "other", "runtime": "process"}
    spec |= {"redis": {"port": project.ports["redis"]}, "store": {"engine": "minio"}}
    (other / "algaenv.yaml").write_text(json.dumps(spec))
    twin = Project(other, "process", {})
    done = twin.text("doctor", "--json")
    taken = [it for it in json.loads(done.stdout)["checks"] if it["id"] == "ports"]
    (found,) = [it for it in taken if str(project.ports["redis"]) in it["summary"]]
    assert str(project.file) in found["summary"]
    assert "`algaenv down -f" in found["hint"]
    # The holder is left alone.
    assert {it["state"] for it in project.status()["services"]} == {"ready"}


def test_a_failing_up_leaves_a_bundle_without_a_secret(running_process: Project) -> None:
    project = running_process
    planted = {name: f"planted-{name}-0123456789" for name in ("env", "spec", "note", "url", "log")}
    project.environ = {
        "ALGAENV_SUPPORT_BUNDLE": "on",
        "MY_API_TOKEN": planted["env"],
        "ALL_PROXY": f"http://me:{planted['url']}@proxy.example",
    }
    project.spec["extensions"]["hello"] |= {
        "secrets": {"ODD": planted["spec"]},
        "config": {"address": f"https://x.example/?token={planted['note']}"},
    }
    project.extension(**HOOKS)
    project.up().ok()
    with (project.home / "logs" / "gateway.log").open("a") as log:
        for line in (
            f"authorization: Bearer {planted['log']}",
            f"GET /x?api_key={planted['log']} for {planted['env']}",
            *project.secrets().values(),
        ):
            log.write(f"{line}\n")
    project.extension(version="", **HOOKS)
    done = project.text("up")
    assert done.returncode == 8
    assert "error[manifest-" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("support bundle: ")
    made = Path(last.removeprefix("support bundle: "))
    assert made.parent == project.home / "support"
    with zipfile.ZipFile(made) as archive:
        texts = {it: archive.read(it).decode() for it in archive.namelist()}
    wanted = {"events.log", "problem.json", "spec/algaenv.yaml", "versions.json", "doctor.json"}
    assert wanted | {"status.json", "logs/gateway.log", "logs/runner.log"} <= set(texts)
    assert "manifest-" in texts["problem.json"]
    secrets = [*planted.values(), *_passwords(project)]
    assert not [(name, it) for name, text in texts.items() for it in secrets if it in text]
    assert project.text("up", "--no-bundle").stderr.count("support bundle") == 0
    assert len(list(made.parent.iterdir())) == 1


def _passwords(project: Project) -> list[str]:
    found = json.loads((project.home / "secrets.json").read_text())["secrets"]
    return [str(it) for it in found.values()]
