"""`dev` on real services: save, and the answer has changed; break, and the last good one stays."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algaenv.system import processes
from tests.cli.schemas import check
from tests.scenario.conftest import docker_slow
from tests.scenario.dev_process import DevProcess, dev
from tests.scenario.project import Project, get, page, until
from tests.scenario.test_drift import stop


def served(project: Project) -> str:
    return project.page()


def index(project: Project) -> Path:
    return project.root / "hello" / "ui" / "index.html"


@pytest.fixture
def watched(running: Project) -> Iterator[tuple[Project, DevProcess]]:
    with dev(running) as made:
        yield running, made


def test_save_break_mend(watched: tuple[Project, DevProcess]) -> None:
    project, watching = watched
    index(project).write_text(page("<h1>second</h1>"))
    turn = watching.turn()
    (hello,) = turn["extensions"]
    assert (turn["failed"], hello["name"], hello["state"]) == (False, "hello", "applied")
    assert hello["answer"] == "page 200"
    assert {"upload", "rows", "ready"} <= set(hello["stages"])
    address = next(e for e in project.status()["extensions"] if e["name"] == "hello")
    assert address["content_hash"] == f"sha256:{hello['digest']}"
    assert "<h1>second</h1>" in get(address["page_url"])

    manifest = project.root / "hello" / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace("{", "", 1))
    turn = watching.turn()
    (hello,) = turn["extensions"]
    assert (turn["failed"], hello["state"]) == (True, "failed")
    assert hello["problems"][0]["file"].endswith("hello/manifest.json")
    assert "<h1>second</h1>" in served(project)
    manifest.write_text(whole)
    assert not watching.turn()["failed"]

    spec = project.file.read_text()
    project.file.write_text(spec + "\nbogus")
    turn = watching.turn()
    assert turn["problems"][0]["line"] > 1
    assert "<h1>second</h1>" in served(project)
    project.spec["extensions"] = {}
    project.extension()
    project.extension("other", "<h1>other</h1>")
    until("both are applied", lambda: _states(watching.turn()).get("other") == "applied")
    (project.root / "other" / "ui" / "index.html").write_text(page("<h1>changed</h1>"))
    assert _states(watching.turn()) == {"other": "applied"}
    for event in watching.seen:
        check("events", event)
    assert watching.end() == 0
    assert project.up().ok().changed == 0  # It goes on running, and is as the spec says.


def _states(turn: dict[str, Any]) -> dict[str, str]:
    return {it["name"]: it["state"] for it in turn["extensions"]}


@pytest.mark.slow
def test_open_pages_are_told(watched: tuple[Project, DevProcess]) -> None:
    project, watching = watched
    services = project.status()["services"]
    gateway = next(it for it in services if it["name"] == "gateway")["endpoints"]["url"]
    (project.root / "hello" / "ui" / "style.css").write_text("h1 { color: red }")
    digest = watching.turn()["extensions"][0]["digest"]
    with urllib.request.urlopen(f"{gateway}/algaenv/events", timeout=30) as stream:
        for line in stream:
            if line.startswith(b"data:"):
                event = json.loads(line[5:])
                if event["type"] == "dev-turn" and event["digest"] == digest:
                    break
    assert (event["state"], event["changed"]) == ("applied", ["ui/style.css"])


@pytest.mark.slow
def test_a_service_that_dies_is_started_again(watched: tuple[Project, DevProcess]) -> None:
    project, watching = watched
    stop(project, "runner")
    started = watching.wait_for("turn_started", lambda it: "runner" in it["cause"])
    assert started["extensions"] == []
    until("it is healed", lambda: not watching.turn()["failed"])
    assert "<h1>hello</h1>" in served(project)


@docker_slow("running")
def test_a_second_one_follows_and_up_and_down_take_part(running: Project) -> None:
    project = running
    with dev(project) as first, dev(project) as second:
        index(project).write_text(page("<h1>second</h1>"))
        assert second.turn()["number"] == 1
        assert any("follow" in line for line in second.errors)
        assert project.up().ok().changed == 0
        assert second.end() == 0
        project.down().ok()
        assert first.closed() == 0
        assert not processes.stat(first.process.pid)
    assert {it["state"] for it in project.status()["services"]} <= {"absent", "stopped"}


@pytest.mark.slow
def test_a_killed_one_is_no_obstacle(running: Project) -> None:
    project = running
    with dev(project) as first:
        index(project).write_text(page("<h1>second</h1>"))
        first.wait_for("turn_started")
        first.process.send_signal(signal.SIGKILL)
        first.closed()
    with dev(project) as again:
        assert "<h1>second</h1>" in served(project)
        assert again.end(signal.SIGTERM) == 0


def test_it_stops_what_it_started_when_told_to(running_process: Project) -> None:
    with dev(running_process, "--on-exit", "stop") as made:
        assert made.end() == 0
    assert made.seen[-1]["event"] == "report"
    assert made.seen[-1]["verb"] == "down"
    assert {it["state"] for it in running_process.status()["services"]} <= {"absent", "stopped"}


def test_a_spec_that_is_wrong_ends_it(make_project: Any) -> None:
    project = make_project("process")
    project.file.write_text("version: 1\nbogus: 1\n")
    done = project.text("dev")
    assert (done.returncode, done.stdout) == (3, "")
    assert "error[spec-key-unknown]" in done.stderr
    project.file.unlink()
    done = project.text("dev")
    assert done.returncode == 3
    assert "error[spec-missing]" in done.stderr
    assert not (project.root / ".algaenv").exists()


@pytest.mark.slow
def test_each_pattern_of_editors_and_tools_is_one_turn(running_process: Project) -> None:
    project = running_process
    source, page_file = project.root / "hello", index(project)

    def git(*arguments: str) -> None:
        words = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments)
        subprocess.run(words, cwd=source, check=True, capture_output=True)

    def rename() -> None:
        written = page_file.with_suffix(".swp")
        written.write_text(page("<h1>renamed</h1>"))
        written.replace(page_file)

    def truncate() -> None:
        with page_file.open("w") as file:
            file.flush()
            file.write(page("<h1>truncated</h1>"))

    def install() -> None:
        for number in range(300):
            package = source / f"node_modules/p{number}"
            package.mkdir(parents=True)
            (package / "index.js").write_text("")
        (source / "ui/installed.js").write_text("// by a tool\n")

    git("init", "-q")
    for branch in ("one", "two"):
        git("checkout", "-q", "-b", branch)
        for number in range(500):
            (source / f"ui/file{number}.txt").write_text(f"{branch} {number}")
        git("add", ".")
        git("commit", "-q", "-m", branch)
    with dev(project) as watching:
        for number, pattern in enumerate(
            (rename, truncate, lambda: git("checkout", "-q", "-f", "one"), install), 1
        ):
            pattern()
            turn = watching.turn()
            assert (turn["number"], _states(turn)) == (number, {"hello": "applied"})
        watching.pass_time(2.0)
        assert watching.end() == 0
    started = [it["number"] for it in watching.seen if it["event"] == "turn_started"]
    assert started == [1, 2, 3, 4]
