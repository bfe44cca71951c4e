"""`drift`, as people and programs read it."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.output.drift import drift_text, drift_to_json
from algaenv.model.drift import Drift, DriftedResource, DriftReport
from algaenv.model.kind import CONTAINER, RELEASE
from tests.cli.program import run
from tests.cli.schemas import check

REPORT = DriftReport(
    (
        DriftedResource(
            CONTAINER.address("redis"),
            (
                Drift("memory limit set to 64", "limits.memory", "128", "64"),
                Drift("it does not run", "running", "running", "stopped", "2026-11-30T22:04:05Z"),
            ),
        ),
        DriftedResource(
            RELEASE.address("hello"),
            (Drift("ui is \x1b[31mred, recorded blue", "ui", "blue", "\x1b[31mred"),),
        ),
    ),
    {"content": "container/store does not run"},
    2,
)


def test_the_whole_text() -> None:
    assert drift_text(REPORT) == dedent("""\
        ~ container/redis
            limits.memory: memory limit set to 64
            running: it does not run  since 2026-11-30 22:04:05 UTC
        ~ release/hello
            ui is \\x1b[31mred, recorded blue

        Not seen:
          content: container/store does not run

        Drift: 3 fields of 2 resources. Ignored by rules of the spec: 2.""")


def test_no_drift_says_so() -> None:
    assert drift_text(DriftReport((), {})) == "No drift. Everything is as the last `up` left it."
    assert drift_text(DriftReport((), {"content": "why"})).endswith("No drift in what can be seen.")


def test_ignored_fields_are_not_called_as_the_last_run_left_them() -> None:
    assert drift_text(DriftReport((), {}, 2)) == (
        "No drift but for what the spec ignores. Ignored by rules of the spec: 2."
    )


def test_the_document_is_as_its_schema_says() -> None:
    document = drift_to_json(REPORT)
    check("drift", document)
    check("drift", drift_to_json(DriftReport((), {})))
    assert document["ignored"] == 2


@pytest.mark.parametrize(("scenario", "code"), [("noop", ExitCode.DONE), ("drift", 2)])
def test_exit_codes(tmp_path: Path, scenario: str, code: int) -> None:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    done = run(tmp_path, "drift", scenario=scenario)
    assert done.returncode == code
    assert ("next: algaenv up" in done.stderr) is (code == 2)
    shown = json.loads(run(tmp_path, "drift", "--json", scenario=scenario).stdout)
    check("drift", shown)
    assert bool(shown["drifted"]) is (code == 2)


def test_files_of_containers_ask_for_a_thorough_run(tmp_path: Path) -> None:
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    assert "next: algaenv up --thorough" in run(tmp_path, "drift", scenario="drifted-file").stderr
