"""Several runs at once, and runs that are cut short: what is left is always mended by the next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from algaenv.drivers.state.state_dir import identify
from tests.scenario.own_engine import OwnEngine
from tests.scenario.project import Project, drained, interrupt, killed_at, page


@pytest.mark.slow
def test_two_environments_live_side_by_side(
    running: Project, make_project: Callable[..., Project]
) -> None:
    project = running
    other = make_project(project.runtime, "demo")
    other.extension(html="<h1>other</h1>")
    other.up().ok()
    assert (project.page(), other.page()) == (page("<h1>hello</h1>"), page("<h1>other</h1>"))
    other.down("--volumes", "--yes").ok()
    assert project.up().ok().changed == 0
    assert project.page() == page("<h1>hello</h1>")


def test_of_two_simultaneous_ups_one_runs_and_the_other_says_who(running_process: Project) -> None:
    project = running_process  # the lock does not differ between runtimes
    project.extension(html="<h1>edited</h1>")
    first = project.start("up", "--json")
    assert first.stdout is not None
    for line in first.stdout:
        if json.loads(line)["event"] in ("planned", "step_started"):
            break
    first.send_signal(signal.SIGSTOP)
    try:
        second = project.up()
    finally:
        first.send_signal(signal.SIGCONT)
        rest = drained(first)
    assert second.code == 5
    (problem,) = second.problems()
    assert problem["code"] == "locked"
    assert str(first.pid) in problem["summary"]
    assert first.returncode == 0
    assert rest[-1]["event"] == "report"


SIGNS = {
    "in the first steps": lambda line: '"step_started"' in line,
    "after the store": lambda line: '"step_ended"' in line and "/store" in line,
    "at the bundle": lambda line: '"step_started"' in line and "bundle/" in line,
}


@pytest.mark.slow
def test_down_cleans_up_after_a_run_killed_midway(project: Project) -> None:
    process = project.start("up", "--json")
    with killed_at(process, SIGNS["at the bundle"]):
        pass
    project.down("--volumes", "--yes").ok()
    assert not (project.root / ".algaenv").exists()


def test_down_with_volumes_leaves_no_file_that_a_killed_run_left(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("process")
    home = identify(project.file, "demo").home
    for name in (
        "run/redis.json.lock",
        "run/store.json.4711.new",
        "etc/gateway/settings.json",
        "etc/store/.secret.4711.new",
        "data/.algaenv-4711-0/content/row",
        ".secrets.json.4711.0a1b2c3d",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / name).write_text("a secret")
    project.down("--volumes", "--yes").ok()
    assert not (project.root / ".algaenv").exists()


def test_down_with_volumes_says_what_it_could_not_remove(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("process")
    home = identify(project.file, "demo").home
    (home / "data/database-postgres").mkdir(parents=True)
    (home / "data/database-postgres/PG_VERSION").write_text("18")
    (home / "notes.txt").write_text("mine")
    run = project.down("--volumes", "--yes")
    assert run.code == 7
    (problem,) = run.problems()
    assert problem["code"] == "left-behind"
    assert str(home / "data") in problem["summary"]
    shutil.rmtree(home / "data")
    run = project.down("--volumes", "--yes").ok()
    assert [it["address"] for it in run.report["kept"]] == ["file/notes.txt"]
    shutil.rmtree(home)


@pytest.mark.slow
def test_ctrl_c_stops_scheduling_and_reports(running: Project) -> None:
    project = running
    project.down().ok()
    process = project.start("up", "--json")
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "step_started":
            interrupt(process)
            break
    events += drained(process)
    assert process.returncode == 130
    report = events[-1]
    assert report["event"] == "report"
    assert report["interrupted"] is True
    outcomes = {step["outcome"] for step in report["steps"]}
    assert "cancelled" in outcomes
    assert "failed" not in outcomes
    assert report["problems"] == []
    project.up().ok()
    assert project.page() == page("<h1>hello</h1>")


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["in the first steps", "after the store"])
def test_ctrl_c_in_a_terminal_is_no_failure_of_what_is_under_way(
    make_project: Callable[..., Project], sign: str
) -> None:
    """There it goes to every process of the group, tools that steps run included."""
    project = make_project("process")
    project.extension()
    with subprocess.Popen(
        project.command("up", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=project.environment(),
        cwd=project.root,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if SIGNS[sign](line):
                break
        os.killpg(process.pid, signal.SIGINT)
        report = drained(process)[-1]
    assert process.returncode == 130
    assert report["interrupted"] is True
    assert report["problems"] == []
    assert {step["outcome"] for step in report["steps"]} <= {"done", "cut-short", "cancelled"}
    project.up().ok()


def test_ctrl_c_during_a_build_is_no_failure_of_it(running_process: Project) -> None:
    project = running_process
    project.spec["extensions"]["hello"]["build"] = "touch begun; sleep 60"
    project.write()
    process = project.start("up", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if "sleep 60" in line:
            break
    interrupt(process)
    report = drained(process)[-1]
    assert process.returncode == 130
    assert report["interrupted"] is True
    assert report["problems"] == []


@pytest.mark.slow
@pytest.mark.docker
def test_an_engine_gone_midway_is_exit_4_and_the_next_up_converges(
    make_project: Callable[..., Project], own_engine: OwnEngine
) -> None:
    project = make_project("docker")
    project.environ["DOCKER_HOST"] = own_engine.host
    project.extension()
    try:
        own_engine.start()
        process = project.start("up", "--json")
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "step_started" and events[-1]["address"].startswith(
                "container/"
            ):
                own_engine.kill()
                break
        else:
            pytest.fail(f"it ended before a container was made: {events}")
        events += drained(process)
        failed = [it for it in events if it.get("outcome") == "failed"]
        assert process.returncode == 4, (failed, events[-1]["problems"])
        own_engine.start()
        project.up().ok()
        assert project.page() == page("<h1>hello</h1>")
    finally:
        if own_engine.process is not None and own_engine.process.poll() is not None:
            own_engine.start()
        project.clean()
        own_engine.remove()


def test_no_engine_at_all_is_exit_4_when_docker_is_asked_for(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("docker")
    project.environ["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    project.extension()
    run = project.up()
    assert run.code == 4
    assert "hint" in run.problems()[0]


@pytest.mark.slow
def test_auto_takes_processes_where_no_engine_answers_and_says_why(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("auto")
    project.environ["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    project.extension()
    run = project.up().ok()
    (chosen,) = [e for e in run.events if e["event"] == "runtime_chosen"]
    assert chosen["runtime"] == "process"
    assert "engine" in chosen["why"]


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_auto_stays_where_the_data_is_and_a_move_is_agreed_upon(running_process: Project) -> None:
    project = running_process
    project.runtime = "auto"
    project.write()
    project.keep_a_row()
    project.down().ok()

    planned = project.text("plan", "--runtime", "docker", "--json")
    assert "runtime-move" in {it["code"] for it in json.loads(planned.stdout)["warnings"]}
    refused = project.up("--runtime", "docker")
    assert refused.code == 7
    assert refused.codes() == {"runtime-move"}
    assert str(project.home / "data") in refused.problems()[0]["summary"]
    assert refused.changed == 0

    run = project.up().ok()
    (chosen,) = [e for e in run.events if e["event"] == "runtime_chosen"]
    assert chosen["runtime"] == "process"
    assert "the data of the environment lies with process" in chosen["why"]
    assert project.kept()


@pytest.mark.slow
def test_many_runs_at_once_end_with_one_environment(make_project: Callable[..., Project]) -> None:
    project = make_project("process")  # the lock does not differ between runtimes
    project.extension()
    results: list[int] = []

    def up() -> None:
        results.append(project.up().code)

    threads = [threading.Thread(target=up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 in results
    assert set(results) <= {0, 5}
    assert project.up().ok().changed == 0
