"""`drift` names what something else changed, changes nothing itself, and `up` reverts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.params import slow_params
from tests.scenario.project import Project, until
from tests.scenario.test_drift import container, docker, pid_of, stop

Meddle = Callable[[Project], object]


def drift(project: Project) -> dict[str, Any]:
    """The document of `drift --json`; the exit code agrees with it."""
    done = project.text("drift", "--json")
    assert done.returncode in (0, 2), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 2) is bool(found["drifted"])
    return found


def fields(project: Project) -> set[str]:
    """`address field` of everything that has drifted; digests are left out."""
    return {
        f"{it['address'].partition('@')[0]} {field['field']}"
        for it in drift(project)["drifted"]
        for field in it["fields"]
    }


def kind(project: Project) -> str:
    return "container" if project.runtime == "docker" else "process"


def edit_file(project: Project) -> None:
    """Edit a generated file of Redis, which holds its password."""
    if project.runtime == "docker":
        edit_in_container(container(project, "redis"), "/etc/algaenv")
        return
    (path,) = [it for it in (project.home / "etc" / "redis").iterdir() if it.is_file()][:1]
    path.chmod(0o600)
    path.write_text(path.read_text() + "# edited\n")


def edit_in_container(name: str, directory: str) -> None:
    import io
    import tarfile

    content = subprocess.run(
        ["docker", "cp", f"{name}:{directory}", "-"], check=True, capture_output=True, timeout=60
    ).stdout
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for member in old:
            file = old.extractfile(member) if member.isreg() else None
            if file is not None:
                text = file.read() + b"# edited\n"
                member.name, member.size = Path(member.name).name, len(text)
                new.addfile(member, io.BytesIO(text))
    subprocess.run(
        ["docker", "cp", "-", f"{name}:{directory}"], input=out.getvalue(), check=True, timeout=60
    )


def change_secret(project: Project) -> None:
    """Another token in the file of generated secrets, as a restored backup may hold."""
    path = project.home / "secrets.json"
    kept = json.loads(path.read_text())
    kept["secrets"]["service_token"] = "x" * 40
    path.write_text(json.dumps(kept))


def overwrite_object(project: Project) -> None:
    (key,) = project.objects()
    size = project.s3().head_object(Bucket="extensions", Key=key)["ContentLength"]
    project.s3().put_object(Bucket="extensions", Key=key, Body=b"x" * size)


def delete_object(project: Project) -> None:
    (key,) = project.objects()
    project.s3().delete_object(Bucket="extensions", Key=key)


def delete_bucket(project: Project) -> None:
    delete_object(project)
    project.s3().delete_bucket(Bucket="extensions")


def remove_container(project: Project) -> None:
    if project.runtime == "docker":
        docker("rm", "-f", container(project, "redis"))
        return
    pid = pid_of(project, "redis")
    os.kill(pid, signal.SIGTERM)
    until("redis has ended", lambda: not Path(f"/proc/{pid}").exists())
    for path in (project.home / "run").glob("redis.json*"):
        path.unlink()


def file_object_and_row(project: Project) -> None:
    edit_file(project)
    delete_object(project)
    project.sql("UPDATE tenant_extension_install SET is_enabled = false")


def changed_row(statement: str) -> Meddle:
    return lambda project: project.sql(statement)


@pytest.mark.parametrize(
    ("meddle", "named"),
    [
        (
            file_object_and_row,
            {"{kind}/redis files.*", "bundle/hello exists", "release/hello enabled"},
        ),
        (overwrite_object, {"bundle/hello bytes"}),
        (remove_container, {"{kind}/redis exists"}),
        *slow_params(
            (lambda project: stop(project, "redis"), {"{kind}/redis running"}),
            (delete_bucket, {"bucket/extensions exists", "bundle/hello exists"}),
            (changed_row("DELETE FROM tenant_extension_install"), {"release/hello exists"}),
            (
                changed_row("DELETE FROM tenant_extension_install_config"),
                {"release/hello config"},
            ),
            (changed_row("DROP TABLE extension_quota_usage"), {"schema/extensions tables.*"}),
        ),
    ],
    ids=[
        "file-object-row",
        "bytes",
        "removed",
        "stopped",
        "bucket",
        "row",
        "config-row",
        "table",
    ],
)
def test_a_change_by_hand_is_named_and_reverted(
    running: Project, meddle: Meddle, named: set[str]
) -> None:
    project = running
    assert fields(project) == set()
    before = state(project)
    meddle(project)
    found = {pattern_of(it) for it in fields(project)}
    assert found == {it.format(kind=kind(project)) for it in named}
    assert state(project) == before
    assert project.up("--thorough").ok().changed > 0
    assert fields(project) == set()


def pattern_of(field: str) -> str:
    """Names of generated files and tables differ by engine."""
    address, _, name = field.partition(" ")
    head, dot, _ = name.partition(".")
    return f"{address} {head}.*" if dot and head in ("files", "tables") else field


def state(project: Project) -> bytes:
    return (project.home / "last.json").read_bytes()


def test_another_secret_is_named_and_never_shown(running_process: Project) -> None:
    project = running_process
    kept = (project.home / "secrets.json").read_text()
    try:
        change_secret(project)
        done = project.text("drift", "--json")
        assert done.returncode == 2
        assert "x" * 40 not in done.stdout + done.stderr
        found = json.loads(done.stdout)["drifted"]
        assert {it["address"] for it in found} <= {"process/runner", "process/gateway"}
        assert all(it["field"].startswith("secrets.") for one in found for it in one["fields"])
        (project.home / "secrets.json").unlink()
        assert fields(project) == {"secret/secrets.json exists"}
    finally:
        (project.home / "secrets.json").write_text(kept)
        (project.home / "secrets.json").chmod(0o600)
    assert fields(project) == set()


def test_what_the_spec_changed_is_no_drift(running_process: Project) -> None:
    project = running_process
    project.extension("hello", "<h1>edited</h1>")
    project.extension("second")
    assert json.loads(project.text("plan", "--json").stdout)["changes"] > 0
    assert fields(project) == set()
    project.up().ok()
    assert fields(project) == set()


def test_an_ignored_field_stays_as_it_is(running_process: Project) -> None:
    project = running_process
    project.sql("UPDATE tenant_extension_install SET is_enabled = false")
    assert fields(project) == {"release/hello enabled"}
    project.spec["drift"] = {"ignore": ["release/hello:enabled"]}
    project.write()
    found = drift(project)
    assert (found["drifted"], found["ignored"]) == ([], 1)
    assert project.up().ok().changed == 0
    assert project.sql("SELECT is_enabled FROM tenant_extension_install") == [(False,)]
    del project.spec["drift"]
    project.write()
    assert project.up().ok().steps() == {"update release/hello": "done"}


@pytest.mark.slow
@pytest.mark.docker
def test_what_only_containers_have(running_docker: Project) -> None:
    """Limits, variables, labels, and the network; each of a service of its own."""
    project = running_docker
    docker("update", "--memory", "500m", "--memory-swap", "500m", container(project, "store"))
    remade(project, "redis", env="ADDED=1", label="dev.algaenv.inputs={}")
    found = fields(project)
    assert "container/store limits.memory" in found
    assert "container/redis env.ADDED" in found
    assert "container/redis labels.dev.algaenv.inputs" in found
    network = f"label=dev.algaenv.environment={project.id}"
    ids = docker("ps", "-aq", "--filter", network).split()
    docker("rm", "-f", *ids)
    docker("network", "rm", docker("network", "ls", "-q", "--filter", network))
    assert "network/main exists" in fields(project)
    project.up().ok()
    assert fields(project) == set()


def remade(project: Project, service: str, *, env: str, label: str) -> None:
    """Make a container anew by hand, with a variable more and another label."""
    name = container(project, service)
    (found,) = json.loads(docker("inspect", name))
    config, host = found["Config"], found["HostConfig"]
    docker("stop", "-t", "5", name)
    docker("rename", name, f"{name}-before")
    labels = [f"{key}={value}" for key, value in config["Labels"].items()] + [label]
    words = ["create", "--name", found["Name"].lstrip("/"), "--user", config["User"]]
    words += [word for it in labels for word in ("--label", it)]
    words += [word for it in [*config["Env"], env] for word in ("--env", it)]
    words += ["--network", host["NetworkMode"], "--restart", "unless-stopped"]
    words += ["--volumes-from", f"{name}-before", "--memory", str(host["Memory"])]
    words += ["--entrypoint", (config["Entrypoint"] or config["Cmd"])[0]]
    rest = (config["Entrypoint"] or [])[1:] + (config["Cmd"] or [])
    rest = rest if config["Entrypoint"] else rest[1:]
    docker(*words, config["Image"], *rest)
    docker("rm", "-f", f"{name}-before")


@pytest.mark.slow
def test_a_week_without_a_change_writes_nothing(running: Project) -> None:
    """A service is restarted every day, and the generated files grow older."""
    project = running
    project.up().ok()  # the spec of this test is saved now
    writes = written(project)
    for day in range(7):
        assert project.text("restart", "redis").returncode == 0
        age_files(project.home, (day + 1) * 24 * 3600)
        plan = json.loads(project.text("plan", "--json").stdout)
        assert plan["changes"] == 0, plan
        assert fields(project) == set()
        assert project.up().ok().changed == 0
        assert written(project) == writes


TABLES = (
    "extension_registry",
    "extension_version",
    "extension_bundle",
    "tenant_extension_install",
    "tenant_extension_install_config",
    "extension_api_endpoint",
    "tenants",
)


def written(project: Project) -> tuple[object, ...]:
    """What changes with every write: versions of rows, objects, the saved state."""
    rows = [project.sql(f"SELECT ctid::text, xmin::text FROM {it} ORDER BY 1") for it in TABLES]
    listed = project.s3().list_objects_v2(Bucket="extensions").get("Contents", [])
    objects = [(it["Key"], it["ETag"], it["LastModified"]) for it in listed]
    return rows, objects, state(project)


def age_files(directory: Path, seconds: float) -> None:
    """Make generated files and records look older, as after that time."""
    before = time.time() - seconds
    for path in [*(directory / "etc").rglob("*"), *(directory / "cache").rglob("*")]:
        if path.is_file() and not path.is_symlink():
            os.utime(path, (before, before))


def test_what_an_install_that_failed_has_left_is_no_drift(running_process: Project) -> None:
    project = running_process
    project.extension("second")
    built = project.root / "second" / "dist" / "main.wasm"
    built.parent.mkdir()
    built.write_bytes(b"\0asm\1\0\0\0")
    endpoints = [{"method": "GET", "path": "/x", "handler": "handler"}]
    project.extension("second", runtime="wasm-js@1", api={"endpoints": endpoints})
    assert project.up().code != 0
    assert fields(project) == set()
    del project.spec["extensions"]["second"]
    project.write()
    project.up().ok()
    assert fields(project) == set()
