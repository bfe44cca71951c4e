"""`test`: the checks of a spec on an environment that is up, and on one of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest

from tests import guests
from tests.forked_program import ForkedProgram
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, Started, until

LOOK = 'printf "%s\\n" "$ALGAENV_FILE" "$STORAGE_S3_ENDPOINT" "$ALGAENV_GATEWAY_URL" > seen; exit 3'


def start(project: Project, *arguments: str) -> Started:
    """`-f` stands before what may be a program."""
    words = ["test", "-f", str(project.file), *arguments]
    return ForkedProgram(
        "algaenv", words, environment=project.environment(), directory=project.root
    )


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    with start(project, *arguments) as process:
        out, err = process.communicate(timeout=180)
    return subprocess.CompletedProcess(process.args, process.wait(), out, err)


def hidden(project: Project) -> list[Path]:
    return list(project.root.glob(".algaenv-test-*"))


def processes_of(name: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(name in word for word in process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def containers_of(name: str) -> list[str]:
    command = ["docker", "ps", "-aq", "--filter", f"name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@docker_slow("running")
def test_checks_pass_or_fail_on_what_is_up(running: Project) -> None:
    project = running
    hello = project.spec["extensions"]["hello"]
    hello["checks"] = [{"page": "msp", "expect": {"text": "<h1>hello</h1>"}}]
    project.write()
    passed = run(project, "hello")
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.splitlines()[0].startswith("✓ hello  page in msp  200 OK")
    hello["checks"].append({"call": "/nowhere", "name": "somewhere"})
    project.write()
    failed = run(project, "--json", "--junit", "results.xml")
    assert failed.returncode == 10
    document = json.loads(failed.stdout)
    assert [it["passed"] for it in document["checks"]] == [True, False]
    assert document["environment"] == project.name
    (failure,) = ElementTree.parse(project.root / "results.xml").findall(".//failure")
    assert failure.get("message") == "status: 404 instead of one below 400"


def schedule(name: str, payload: object) -> dict[str, Any]:
    """The check that has a handler make a schedule, which then calls it with this payload."""
    fields = {"endpoint": "POST /x", "cron": "0 3 * * *", "timezone": None, "enabled": True}
    made = {**fields, "name": name, "payload": json.dumps(payload)}
    script = {"calls": [{"fn": "scheduler.create-schedule", "args": [made]}]}
    expect = {"status": 200, "json": {"results": [{"ok": {"success": True}}]}}
    return {"call": "POST /x", "body": script, "expect": expect}


def test_a_check_runs_the_schedules_of_a_handler(running_process: Project) -> None:
    project = running_process
    built = project.root / "hello/dist/main.wasm"
    built.parent.mkdir()
    built.write_bytes(guests.built("script").read_bytes())
    endpoints = [{"method": "POST", "path": "/x", "handler": "dist/main"}]
    capabilities = ["cap:scheduler.manage", "cap:storage.kv"]
    project.extension(runtime="wasm-js@1", api={"endpoints": endpoints}, capabilities=capabilities)
    hello = project.spec["extensions"]["hello"]
    entry = {"namespace": "n", "key": "ran", "value": "MQ==", "revision": None}
    stored = {"calls": [{"fn": "storage.put", "args": [entry]}]}
    read = {"calls": [{"fn": "storage.get", "args": ["n", "ran"]}]}
    nightly: list[object] = [
        schedule("nightly", stored),
        {"schedule": "POST /x"},
        {
            "call": "POST /x",
            "body": read,
            "expect": {"json": {"results": [{"ok": {"value": "MQ=="}}]}},
        },
    ]
    hello["checks"] = nightly
    project.write()
    passed = run(project)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "✓ hello  schedule of POST /x  1 run" in passed.stdout
    hello["checks"] = [schedule("broken", {"then": "trap"}), {"schedule": "/x"}]
    project.write()
    failed = run(project, "--junit", "results.xml")
    assert failed.returncode == 10, failed.stdout + failed.stderr
    assert "✗ hello  schedule of /x  2 runs" in failed.stdout
    assert "schedule broken: Runner returned status 500 (execute_failed" in failed.stdout
    assert "schedule nightly" not in failed.stdout
    (failure,) = ElementTree.parse(project.root / "results.xml").findall(".//failure")
    assert (failure.get("message") or "").startswith("schedule broken: ")


@pytest.mark.slow
@docker_slow("running")
def test_an_environment_of_its_own_is_gone_after_a_program_failed(running: Project) -> None:
    project = running
    before = project.status()
    done = run(project, "--ephemeral", "--runtime", project.runtime, "--", "sh", "-c", LOOK)
    assert done.returncode == 3, done.stderr
    spec, store, gateway = (project.root / "seen").read_text().splitlines()
    name = Path(spec).stem.removeprefix(".algaenv-")
    assert name.startswith("test-")
    own = {it["name"]: it["endpoints"] for it in before["services"]}
    assert store.startswith("http://127.0.0.1:")
    assert store != own["store"]["api"]
    assert gateway not in ("", own["gateway"]["url"])
    assert hidden(project) == []
    assert [it.name for it in (project.root / ".algaenv").iterdir() if it.is_dir()] == [project.id]
    left = containers_of(name) if project.runtime == "docker" else processes_of(name)
    assert left == []
    assert project.status() == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_gone_after_an_interrupt(running_process: Project, number: signal.Signals) -> None:
    project = running_process
    wait = "touch waiting; exec sleep 120"
    with start(project, "--ephemeral", "--runtime", "process", "--", "sh", "-c", wait) as process:
        until("the program runs", (project.root / "waiting").exists)
        assert len(hidden(project)) == 1
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.wait() == 130, err
    assert out == ""
    assert hidden(project) == []
    assert [it.name for it in (project.root / ".algaenv").iterdir() if it.is_dir()] == [project.id]


def test_it_is_gone_after_an_up_that_failed(running_process: Project) -> None:
    project = running_process
    project.spec["extensions"]["hello"]["checks"] = ["GET /x"]
    project.spec["extensions"]["hello"]["build"] = "echo broken >&2; exit 1"
    project.write()
    done = run(project, "--ephemeral", "--runtime", "process", "--json", "--junit", "r.xml")
    assert done.returncode == 8, done.stderr
    report = json.loads(done.stdout)
    assert [it["code"] for it in report["problems"]] == ["build-failed"]
    (error,) = ElementTree.parse(project.root / "r.xml").findall(".//error")
    assert "build" in (error.get("message") or "")
    assert hidden(project) == []


@pytest.mark.slow
def test_what_a_killed_run_left_is_removed_by_the_next(running_process: Project) -> None:
    project = running_process
    own = project.id
    wait = "touch waiting; exec sleep 120"
    with start(project, "--ephemeral", "--runtime", "process", "--", "sh", "-c", wait) as process:
        until("the program runs", (project.root / "waiting").exists)
        (left,) = hidden(project)
        (home,) = [
            it.name
            for it in (project.root / ".algaenv").iterdir()
            if it.name != own and it.is_dir()
        ]
        alive = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    for each in alive:
        if each.is_running() and each.name() == "sleep":
            each.kill()
    name = next(
        line.removeprefix("name: ")
        for line in left.read_text().splitlines()
        if line.startswith("name: ")
    )
    assert processes_of(home) != []
    done = run(project, "--ephemeral", "--runtime", "process", "--", "true")
    assert done.returncode == 0, done.stderr
    assert f"removing {name} of a process that was killed" in done.stderr
    assert hidden(project) == []
    assert processes_of(home) == []
    assert [it.name for it in (project.root / ".algaenv").iterdir() if it.is_dir()] == [own]
