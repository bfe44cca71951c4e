"""`explain`: codes, fields with the files that set them, and extensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from algaenv.cli.exit_codes import ExitCode
from tests.cli.program import run
from tests.cli.schemas import check

SPEC = """\
name: demo
runner: {port: 9000}
database: {password: ours, port: "${DB_PORT:-5500}"}
extensions:
  hello:
    source: ./hello
    secrets: {API: "${API}"}
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("redis: {port: 7000}\nrunner: {port: 8000}\n")
    (tmp_path / "algaenv.yaml").write_text(f"extends: ./base.yaml\n{SPEC}")
    (tmp_path / "algaenv.local.yaml").write_text("runner: {port: 9100}\n")
    (tmp_path / ".env").write_text("API=hidden-value\n")
    return tmp_path


def explained(demo: Path, subject: str) -> Any:
    done = run(demo, "explain", subject, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    check("explain", document)
    return document


def test_a_code_needs_no_spec(tmp_path: Path) -> None:
    done = run(tmp_path, "explain", "port-taken")
    assert done.returncode == 0
    meaning, hint, page = done.stdout.splitlines()
    assert meaning.startswith("port-taken: a port on 127.0.0.1")
    assert hint.startswith("What to do: ")
    assert page.endswith("/reference/problems.md#port-taken")
    assert explained(tmp_path, "port-taken")["packages"]


def test_every_file_that_sets_a_field_is_named_the_one_that_counts_first(demo: Path) -> None:
    found = explained(demo, "runner.port")
    places = [(Path(it["where"].split(":")[0]).name, it["text"]) for it in found["settings"]]
    assert places == [
        ("algaenv.local.yaml", "9100"),
        ("algaenv.yaml", "9000"),
        ("base.yaml", "8000"),
    ]
    assert found["default"] == "8085"
    text = run(demo, "explain", "runner.port").stdout
    assert "set by" in text
    assert text.count("instead of") == 2
    assert explained(demo, "redis.port")["settings"][0]["text"] == "7000"
    assert explained(demo, "keep_versions")["settings"] == []
    assert "no file sets it" in run(demo, "explain", "keep_versions").stdout


def test_variables_are_named_with_where_they_are_from_and_secrets_are_masked(demo: Path) -> None:
    (port,) = explained(demo, "database.port")["settings"]
    assert (port["text"], port["variables"]) == ("${DB_PORT:-5500}", {"DB_PORT": "not set"})
    (secret,) = explained(demo, "extensions.hello.secrets.API")["settings"]
    assert (secret["text"], secret["variables"]) == ("***", {"API": ".env"})
    for subject in ("database.password", "database", "extensions.hello.secrets"):
        done = run(demo, "explain", subject)
        assert "ours" not in done.stdout
        assert "hidden-value" not in done.stdout


@pytest.mark.parametrize(
    ("subject", "hint"),
    [
        ("runner.prot", "did you mean `runner.port`?"),
        ("runer.port", "did you mean `runner`?"),
        ("nobody", "choose one of"),
        ("runner.port.deeper", "name a field of the spec"),
        ("extensions.hello.bild", "did you mean `extensions.hello.build`?"),
    ],
)
def test_what_is_nothing_is_refused_with_the_nearest(demo: Path, subject: str, hint: str) -> None:
    done = run(demo, "explain", subject)
    assert (done.returncode, done.stdout) == (ExitCode.SPEC, "")
    assert f"error[spec-field-unknown]: cannot explain {subject}" in done.stderr
    assert hint in done.stderr


def test_a_field_of_a_spec_with_errors_is_explained(demo: Path) -> None:
    (demo / "algaenv.local.yaml").write_text("runner: {port: many}\n")
    assert explained(demo, "runner.port")["settings"][0]["text"] == "many"
    (demo / "algaenv.local.yaml").write_text("runner: [\n")
    assert run(demo, "explain", "runner.port").returncode == ExitCode.SPEC


def test_an_extension_has_its_state_and_what_up_would_do(demo: Path) -> None:
    done = run(demo, "explain", "hello", scenario="noop")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hello is ")
    assert "it stands in " in done.stdout
    document = json.loads(run(demo, "explain", "hello", "--json", scenario="noop").stdout)
    check("explain", document)
    late = json.loads(run(demo, "explain", "hello", "--json", scenario="engine").stdout)
    check("explain", late)
    assert late["state"] == "unknown"
    assert late["problems"]
    assert "hint: " in run(demo, "explain", "hello", scenario="engine").stdout
