"""`algaenv compose` speaks the protocol of Docker Compose's providers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from algaenv.cli.commands.compose import metadata
from algaenv.cli.dispatch import parser_of
from tests.cli.program import run
from tests.docs.pages import blocks, read


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "algaenv.yaml").write_text("version: 1\nname: demo\n")
    return tmp_path


def compose(place: Path, *words: str, scenario: str = "fresh") -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the messages; stdout has nothing else."""
    done = run(place, "compose", "--project-name=shop", *words, "alga", scenario=scenario)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def told(messages: list[dict[str, Any]], kind: str) -> list[str]:
    return [it["message"] for it in messages if it["type"] == kind]


def test_up_tells_its_steps_and_then_the_addresses(place: Path) -> None:
    code, messages = compose(place, "up")
    assert code == 0
    assert {it["type"] for it in messages} == {"info", "debug", "setenv"}
    assert all(set(it) == {"type", "message"} for it in messages)
    assert "create container/store" in told(messages, "info")
    assert any(it.startswith("warning: cannot tell what") for it in told(messages, "info"))
    addresses = told(messages, "setenv")
    assert "RUNNER_URL=http://127.0.0.1:8085" in addresses
    assert not any("SECRET" in it for it in addresses)
    assert messages[-len(addresses) :] == [{"type": "setenv", "message": it} for it in addresses]


@pytest.mark.parametrize(("how", "kind"), [("raw", "rawsetenv"), ("prefixed", "setenv")])
def test_the_variables_of_the_app_server_are_passed_on_when_asked(
    place: Path, how: str, kind: str
) -> None:
    _, messages = compose(place, "up", f"--variables={how}")
    assert "RUNNER_BASE_URL=http://127.0.0.1:8085" in told(messages, kind)
    assert any(it.startswith("STORAGE_S3_SECRET_KEY=") for it in told(messages, kind))


def test_what_fails_is_the_last_message(place: Path) -> None:
    code, messages = compose(place, "up", scenario="failing")
    assert code == 7
    assert [it["type"] for it in messages].index("error") == len(messages) - 1
    assert messages[-1]["message"].startswith("error[service-ended]: cannot bring up")
    assert "hint:" in messages[-1]["message"]
    code, messages = compose(place, "up", scenario="locked")
    assert (code, told(messages, "setenv")) == (5, [])
    assert "error[locked]: cannot go on" in messages[-1]["message"]


def test_a_spec_that_is_missing_is_an_error_of_compose(tmp_path: Path) -> None:
    code, messages = compose(tmp_path, "up")
    assert code == 3
    (problem,) = told(messages, "error")
    assert problem.startswith("error[spec-missing]: ")


@pytest.mark.parametrize("action", ["down", "stop"])
def test_down_and_stop_remove_it(place: Path, action: str) -> None:
    code, messages = compose(place, action)
    assert code == 0
    assert any(it.startswith("delete ") for it in told(messages, "info"))


def test_every_option_of_the_metadata_is_one_of_the_command() -> None:
    described = metadata()
    names = {
        f"--{parameter['name']}"
        for action in ("up", "down", "stop")
        for parameter in described[action]["parameters"]
    }
    own = set(parser_of("compose").option_names())
    assert names <= own
    assert own - names == {
        *("-h", "--help", "-f", "--project-name", "--json", "--no-color"),
        *("-q", "--quiet", "-v", "--verbose"),
    }
    assert described["description"]
    assert not any(it["required"] for it in described["up"]["parameters"])


def test_a_service_must_be_named(place: Path) -> None:
    done = run(place, "compose", "up")
    assert (done.returncode, done.stdout) == (64, "")
    assert "name the service" in done.stderr


def test_the_file_of_the_page_is_one_that_compose_reads(tmp_path: Path) -> None:
    (block,) = [it for it in blocks(read("docs/how-to/compose.md")) if it.language == "yml"]
    (tmp_path / "compose.yaml").write_text(block.text)
    done = subprocess.run(
        [Path(sys.executable).with_name("docker-compose"), "config", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    provider = json.loads(done.stdout)["services"]["alga"]["provider"]
    names = {parameter["name"] for parameter in metadata()["up"]["parameters"]}
    assert provider["type"] == "algaenv"
    assert set(provider["options"]) <= names
