"""What programs read agrees with the schemas that describe it, and holds no secret."""

from __future__ import annotations

import io
import json
import typing
from pathlib import Path

import pytest
from jsonschema import ValidationError

from algaenv import SCHEMAS
from algaenv.cli.commands import COMMANDS
from algaenv.cli.commands.schema import schema_names
from algaenv.cli.output.dev_lines import dev_event_to_json
from algaenv.cli.output.json import (
    JsonLines,
    event_to_json,
    plan_to_json,
    problem_to_json,
    status_to_json,
)
from algaenv.model import event as events
from algaenv.model.event import Event, Report, Reported, StepStarted, Warned
from algaenv.model.plan import Plan
from algaenv.model.problem import Problem
from tests.cli.event_samples import FAILURE, OPENING, PLACED, SUCCESS
from tests.cli.fake_application import WARNING, status
from tests.cli.program import run
from tests.cli.schemas import REFERENCE, check, validator
from tests.cli.test_dev_output import OWN
from tests.cli.test_plan_text import FULL

ALL = (
    *OPENING,
    *SUCCESS,
    *FAILURE,
    StepStarted(FULL.steps[3]),
    Warned(PLACED),
    Reported(Report("", (), (PLACED,), "SpecError")),
)


@pytest.mark.parametrize("event", ALL, ids=lambda e: type(e).__name__)
def test_every_event_is_as_its_schema_says(event: Event) -> None:
    shape = event_to_json(event)
    check("events", shape)
    assert json.loads(json.dumps(shape)) == shape


def test_every_kind_of_event_is_told_here_and_described() -> None:
    kinds = set(typing.get_args(events.Event))
    assert {type(event) for event in ALL} == kinds
    names = {event_to_json(event)["event"] for event in ALL}
    names |= {dev_event_to_json(event)["event"] for event in OWN}
    schema = json.loads((REFERENCE / "events.schema.json").read_text(encoding="utf-8"))
    described = {ref["$ref"].rpartition("/")[2] for ref in schema["oneOf"]}
    assert names == described


def test_plans_are_as_their_schema_says() -> None:
    for plan in (FULL, Plan(())):
        check("plan", plan_to_json(plan, (WARNING, PLACED)))
    shape = plan_to_json(FULL)
    assert shape["changes"] == 5


def test_statuses_are_as_their_schema_says_and_keep_secrets() -> None:
    shape = status_to_json(status(Path("/home/me/algaenv.yaml")), (WARNING,))
    check("status", shape)
    assert shape["variables"] == {"RUNNER_BASE_URL": "http://127.0.0.1:8085"}
    assert shape["secret_variables"] == ["STORAGE_S3_ACCESS_KEY", "STORAGE_S3_SECRET_KEY"]
    assert "AKIAEXAMPLE" not in json.dumps(shape)


def test_the_strict_schemas_refuse_what_they_do_not_know() -> None:
    shape = event_to_json(ALL[0]) | {"surprise": 1}
    with pytest.raises(ValidationError):
        validator("events").validate(shape)
    with pytest.raises(ValidationError):
        validator("plan").validate(plan_to_json(FULL) | {"surprise": 1})


def test_a_word_means_the_same_in_every_schema() -> None:
    seen: dict[str, object] = {}
    for path in sorted(REFERENCE.glob("*.schema.json")):
        if path.name in ("algaenv.schema.json", "fragment.schema.json"):
            continue
        for name, definition in json.loads(path.read_text())["definitions"].items():
            assert seen.setdefault(name, definition) == definition, (path.name, name)


def test_every_schema_says_where_it_is_published_and_is_printed() -> None:
    names = schema_names()
    assert {"spec", "plan", "status", "events", "explain", "version"} <= set(names)
    for name in names:
        file = f"{'algaenv' if name == 'spec' else name}.schema.json"
        shape = json.loads((REFERENCE / file).read_text(encoding="utf-8"))
        assert shape["$id"] == f"{SCHEMAS}/{file}"
        assert json.loads(run(REFERENCE, "schema", name).stdout) == shape


def test_every_command_that_prints_json_has_a_schema() -> None:
    in_events = {"up", "dev", "down", "restart", "run", "validate"}
    # What other commands print, and the messages of another program's protocol.
    passed_on = {"mcp", "compose"}
    others = {*schema_names(), "schema"} | passed_on
    assert {name for name, _ in COMMANDS} - others == in_events


@pytest.mark.parametrize("line", ["version", "completion bash", "explain port-taken", "new --list"])
def test_small_documents_are_as_their_schemas_say(tmp_path: Path, line: str) -> None:
    done = run(tmp_path, *line.split(), "--json")
    assert done.returncode == 0
    check(line.split(maxsplit=1)[0], json.loads(done.stdout))


def test_a_schema_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    done = run(tmp_path, "schema", "pln")
    assert done.returncode == 64
    assert "did you mean plan?" in done.stderr


def test_a_problem_tells_where_its_code_is_explained() -> None:
    problem = Problem("port-taken", "cannot take a port")
    shape = problem_to_json(problem)
    page, _, code = str(shape["url"]).partition("#")
    assert page.endswith("/docs/reference/problems.md")
    assert code == problem.code
    assert f'<a id="{code}"></a>' in (REFERENCE / "problems.md").read_text(encoding="utf-8")


def test_lines_are_lines_and_readable() -> None:
    stream = io.StringIO()
    sink = JsonLines(stream, io.StringIO())
    for event in ALL:
        sink.emit(event)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [event_to_json(e)["event"] for e in ALL]
    assert "0.1.1 → 0.1.2" in stream.getvalue()
