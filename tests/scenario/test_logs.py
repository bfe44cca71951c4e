"""Logs of an environment that is up, on both runtimes."""

from __future__ import annotations

import json
import math
import re
import signal
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import httpx
import pytest

from algaenv.bundle.layout import registry_id
from tests import guests
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, Started, until
from tests.scenario.test_drift import stop
from tests.scenario.test_handlers import handler

ENDPOINTS = [{"method": "POST", "path": "/x", "handler": "handler"}]
SAYS_CALLS = [{"fn": "logging.log-info", "args": ["hello from \x1b[31minside"]}]
SAYS = {
    "calls": SAYS_CALLS,
    "stderr": ["and an error\n"],
}


def with_handler(project: Project) -> None:
    """Give `hello` a handler that may log and store."""
    handler(project, guests.built("script").read_bytes())
    capabilities = ["cap:log.emit", "cap:storage.kv"]
    project.extension(runtime="wasm-js@1", api={"endpoints": ENDPOINTS}, capabilities=capabilities)
    project.up().ok()


def call(project: Project, script: object) -> str:
    """Call the handler; the request id."""
    done = project.text("call", "hello", "/x", "-d", json.dumps(script), "--json")
    headers: dict[str, str] = json.loads(done.stdout)["headers"]
    return headers["x-algaenv-request-id"]


def logs(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = project.text("logs", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@docker_slow("running")
@pytest.mark.timeout(120)
def test_a_request_is_found_in_all_logs_and_followed_across_a_restart(running: Project) -> None:
    project = running
    with_handler(project)
    request = call(project, SAYS)

    def found() -> list[str]:
        own = logs(project, "hello", "--request", request[:8])
        return [f"{it['service']} {it['kind']} {it['stream']}" for it in own]

    # Docker has a line a moment after the service has written it.
    until("all lines of the request", lambda: len(found()) == 4)
    assert found()[:2] == ["runner guest log", "runner guest stderr"]
    assert sorted(found()[2:]) == ["gateway request ", "runner request "]
    shown = project.text("logs", "--request", request).stdout
    assert "hello from inside" in shown
    assert "\x1b" not in shown

    everything = logs(project, "--tail", "all")
    assert {it["service"] for it in everything} == {
        *("store", "redis", "database", "runner", "gateway")
    }
    assert [it["time"] for it in everything] == sorted(it["time"] for it in everything)
    assert len(logs(project, "--tail", "3")) == 3
    secrets = [value for name, value in project.secrets().items() if "PASSWORD" in name]
    assert secrets
    assert not [it for it in everything if any(each in json.dumps(it) for each in secrets)]

    with project.start("logs", "-f", "--tail", "1", "--json", "redis", "hello") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()  # What is there has been read: the rest follows.
            again = call(project, SAYS)
            lines = [json.loads(process.stdout.readline()) for _ in range(4)]
            assert {it["request_id"] for it in lines} == {again}
            stop(project, "redis")
            project.up().ok()
            while "Ready to accept" not in json.loads(process.stdout.readline())["message"]:
                pass
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert process.wait() == 130


def test_names_that_are_not_there_are_named_with_the_nearest(running_process: Project) -> None:
    done = running_process.text("logs", "rediss", "helo")
    assert (done.returncode, done.stdout) == (7, "")
    assert "did you mean `redis`?" in done.stderr
    assert "did you mean `hello`?" in done.stderr


@docker_slow("running")
def test_a_call_is_traced_recorded_and_replayed(running: Project) -> None:
    project = running
    with_handler(project)
    put: dict[str, object] = {"namespace": "n", "key": "k", "value": "aGk="}
    none = {"metadata": None, "if_revision": None, "ttl_seconds": None}
    calls = [*SAYS_CALLS, {"fn": "storage.put", "args": [put | none]}]
    script = {**SAYS, "calls": calls}
    recording = project.root / "call.json"
    arguments = ("call", "hello", "/x", "-v", "--record", str(recording))
    done = project.text(*arguments, "-d", json.dumps(script))
    assert done.returncode == 0, done.stderr
    shown = [line.strip(" ├└─") for line in done.stderr.splitlines()]
    assert "log: hello from \\x1b[31minside" in shown
    assert "stderr: and an error" in shown
    assert any(line.startswith("storage.put n/k") for line in shown)
    assert "missing" not in done.stderr

    done = project.text("replay", str(recording))
    assert done.returncode == 2
    assert "body /results/1/ok/revision: 1 → 2" in done.stdout
    ignored = ("--ignore", "body:/results/*/ok/revision")
    done = project.text("replay", str(recording), *ignored)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    project.extension(
        html="<h1>other</h1>",
        runtime="wasm-js@1",
        api={"endpoints": ENDPOINTS},
        capabilities=["cap:log.emit", "cap:storage.kv"],
    )
    project.up().ok()
    done = project.text("replay", str(recording), *ignored)
    assert (done.returncode, "another one than then" in done.stderr) == (0, True)

    done = project.text("call", "hello", "/x", "-d", "{}", "--repeat", "5")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "5 calls: 5 × 200")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_requests_are_traced_as_they_end(running: Project) -> None:
    project = running
    with_handler(project)
    request = call(project, SAYS)

    def traced(*arguments: str) -> list[dict[str, Any]]:
        done = project.text("trace", "hello", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (found,) = traced("--request", request)
    assert (found["extension"], found["status"], found["entry"]) == ("hello", 200, "proxy")
    assert [it["message"] for it in found["trace"]["lines"]] == [
        *("hello from \x1b[31minside", "and an error")
    ]
    with project.start("trace", "-f", "--last", "1", "--json") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            trapped = call(project, {"then": "trap"})
            found = json.loads(process.stdout.readline())
            assert (found["request_id"], found["status"]) == (trapped, 500)
            assert found["problem"].startswith("gateway-trap: ")
            stop(project, "gateway")
            project.up().ok()
            again = call(project, SAYS)
            assert json.loads(process.stdout.readline())["request_id"] == again
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert process.wait() == 130


CALLS_UNDER_LOAD, LINES_A_CALL, CALLERS = 240, 40, 8


@pytest.mark.timeout(180)
def test_followers_show_all_of_many_calls_or_say_what_is_missing(running_process: Project) -> None:
    project = running_process
    with_handler(project)
    call(project, SAYS)
    says = [{"fn": "logging.log-info", "args": [f"line {n}"]} for n in range(LINES_A_CALL)]
    url = f"http://127.0.0.1:{project.ports['gateway']}"
    path = f"/api/ext-proxy/{registry_id('Example', 'com.example.hello')}/x"

    def send(ids: list[str]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for id_ in ids:
                answer = client.post(path, json={"calls": says}, headers={"x-request-id": id_})
                assert answer.status_code == 200, answer.text

    def ended() -> bool:
        send(["the-end"])
        return not wait(read, timeout=2).not_done

    ids = [f"load-{n}" for n in range(CALLS_UNDER_LOAD)]
    with (
        project.start("logs", "-f", "--tail", "1", "--json", "runner") as logs_,
        project.start("trace", "-f", "--last", "1", "--json") as traces,
        ThreadPoolExecutor(CALLERS) as callers,
    ):
        followers = (logs_, traces)
        lines: list[dict[str, Any]] = []
        requests: list[dict[str, Any]] = []
        read = [
            callers.submit(read_until, "the-end", process, found)
            for process, found in zip(followers, (lines, requests), strict=True)
        ]
        try:
            until("both show what was there before", lambda: bool(lines and requests))
            for sent in [callers.submit(send, ids[n :: CALLERS - 2]) for n in range(CALLERS - 2)]:
                sent.result()
            # What comes last is seen last, and may be lost as any other.
            until("both show the end", ended)
        finally:
            for process in followers:
                process.send_signal(signal.SIGINT)
            _, notes = [process.communicate(timeout=30)[1] for process in followers]
    guest = [it for it in lines if it["kind"] == "guest" and it["request_id"] in ids]
    # Of each call the lines that its handler has written, and that of the request.
    asked = [it for it in lines if it["kind"] == "request" and it["request_id"] in ids]
    missing = sum(number_in(it["message"], math.inf) for it in lines if it["kind"] == "gap")
    unseen = CALLS_UNDER_LOAD * (LINES_A_CALL + 1) - len(guest) - len(asked)
    assert 0 <= unseen <= missing
    shown = [it["request_id"] for it in requests if it["request_id"] in ids]
    assert len(shown) == len(set(shown))
    lost = sum(number_in(text, 0) for text in notes.splitlines())
    assert 0 <= CALLS_UNDER_LOAD - len(shown) <= lost


def read_until(id_: str, process: Started, found: list[dict[str, Any]]) -> None:
    """Collect what a follower shows, up to the end of the request of this id."""
    assert process.stdout is not None
    for text in process.stdout:
        found.append(json.loads(text))
        if found[-1].get("request_id") == id_ and found[-1].get("kind") != "guest":
            return


def number_in(text: str, without: float) -> float:
    """How many things a note says are missing."""
    found = re.search(r"\d+", text)
    return int(found[0]) if found else without
