"""Ready means that it answers through the gateway: its page, and the endpoints it is probed by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.scenario.project import Project, Run
from tests.scenario.test_handlers import handler

TEXT = Path(guests.__file__).parent / "text" / "minimal.wat"
FINE = r'"\c8\00"'


def minimal(status: str = FINE, body: str = "minimal", *, traps: bool = False) -> bytes:
    """The smallest handler, answering with another status (as its bytes stand) or with none."""
    from wasmtime import wat2wasm

    text = TEXT.read_text()
    answer = "(result i32) (i32.const 16)))"
    assert text.count(FINE) == text.count(answer) == text.count('"minimal"') == 1
    text = text.replace(FINE, status).replace('"minimal"', f'"{body:7.7}"')
    return bytes(wat2wasm(text.replace(answer, "(result i32) unreachable))") if traps else text))


def probe(project: Project, probe: Any) -> None:
    project.spec["extensions"]["hello"]["probe"] = probe


def calls(project: Project) -> int:
    """How often the gateway was asked for the handler, by its own log."""
    output = (project.home / "logs" / "gateway.log").read_text()
    return sum('"/api/ext-proxy/' in line for line in output.splitlines())


def asked(run: Run, name: str = "hello") -> bool:
    """Whether the extension itself was asked in a run, and answered."""
    found = [s for s in run.ok().report["steps"] if s["address"] == f"extension/{name}"]
    assert all((step["verb"], step["outcome"]) == ("await", "done") for step in found)
    return bool(found)


@pytest.mark.slow
def test_an_endpoint_that_fails_keeps_it_from_being_ready(running_process: Project) -> None:
    project = running_process
    at_first = calls(project)
    probe(project, ["GET /x"])
    handler(project, minimal(r'"\f4\01"', "no luck"))
    for _ in range(2):
        run = project.up()
        assert run.code == 6, run.stderr
        assert run.codes() == {"extension-not-answering"}
        (problem,) = run.problems()
        assert problem["summary"] == ("extension/hello is not ready: GET /x answered 500: no luck")
        assert "algaenv call" in problem["hint"]
    (extension,) = project.status()["extensions"]
    assert not extension["ready"]
    assert extension["detail"] == "GET /x answered 500: no luck"
    handler(project, minimal(traps=True))
    (problem,) = project.up().problems()
    assert problem["code"] == "extension-not-answering"
    assert "unreachable" in problem["summary"]
    handler(project, minimal())
    project.up().ok()
    # Nothing changed: only what the author named is asked.
    before = calls(project)
    assert before > at_first
    assert project.up().ok().changed == 0
    assert calls(project) == before + 1
    assert project.status()["extensions"][0]["ready"]
    assert calls(project) == before + 2


@pytest.mark.slow
def test_without_a_probe_only_a_change_is_asked_about(running_process: Project) -> None:
    project = running_process
    project.extension("late")
    created = project.up()
    assert (asked(created, "late"), asked(created)) == (True, False)
    again = project.up()
    assert (asked(again, "late"), asked(again), again.changed) == (False, False, 0)
    project.extension(html="<h1>other</h1>")
    edited = project.up()
    assert (asked(edited, "late"), asked(edited)) == (False, True)


def test_an_endpoint_that_is_not_declared_is_refused(running_process: Project) -> None:
    project = running_process
    probe(project, "/y")
    handler(project, minimal())
    run = project.up()
    assert run.codes() == {"probe-undeclared"}, json.dumps(run.report)
    (problem,) = run.problems()
    assert problem["file"].endswith("algaenv.yaml")
    line = project.file.read_text().splitlines()[problem["line"] - 1]
    assert line[problem["column"] - 1 :].startswith('"/y"')
    assert run.code == 8
    written = {step.rpartition(" ")[2].partition("/")[0] for step in run.steps()}
    assert written.isdisjoint({"bundle", "release"}), "nothing of the extension is installed"
