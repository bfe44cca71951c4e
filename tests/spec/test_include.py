"""Fragments: what they add, where their errors point, and which files are followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from algaenv.model.intent import Intent
from algaenv.model.problem import SpecError
from algaenv.spec.load import load
from algaenv.spec.provenance import explain_field, extension_names
from algaenv.spec.schema import fragment_schema

FRAGMENT = "algaenv.fragment.yaml"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def source(path: Path) -> Path:
    return write(path / "manifest.json", "{}").parent


def sources(intent: Intent) -> dict[str, str]:
    return {it.name: it.source for it in intent.extensions}


def errors_of(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, {})
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A spec with an extension of its own, beside two repositories that ship fragments."""
    source(tmp_path / "team/own")
    source(tmp_path / "tickets")
    source(tmp_path / "billing/ext")
    write(
        tmp_path / "tickets" / FRAGMENT,
        "x-note: 1\nextensions:\n  tickets: {source: ., config: {greeting: '${WHO:-hi}'}}\n",
    )
    write(tmp_path / "billing/parts.yaml", "version: 1\nextensions: {billing: ./ext}\n")
    return write(
        tmp_path / "team/algaenv.yaml",
        "name: team\ninclude: [../tickets, ../billing/parts.yaml]\nextensions: {own: ./own}\n",
    )


def test_fragments_add_extensions_with_paths_of_their_own(team: Path, tmp_path: Path) -> None:
    write(team.parent / ".env", "WHO=glinda\n")
    loaded = load(team, {})
    assert sources(loaded.intent) == {
        "own": str(tmp_path / "team/own"),
        "tickets": str(tmp_path / "tickets"),
        "billing": str(tmp_path / "billing/ext"),
    }
    tickets = next(it for it in loaded.intent.extensions if it.name == "tickets")
    assert tickets.config == {"greeting": "glinda"}
    assert tickets.where.file == str(tmp_path / "tickets" / FRAGMENT)
    # The loop and the cache follow these files.
    assert {tmp_path / "tickets" / FRAGMENT, tmp_path / "billing/parts.yaml"} <= {*loaded.files}
    assert extension_names(team, {}) == {"own", "tickets", "billing"}


def test_one_path_needs_no_list_and_fragments_include_others(team: Path, tmp_path: Path) -> None:
    write(tmp_path / "all.yaml", "include: [./tickets, ./billing/parts.yaml]\n")
    write(team, "name: team\ninclude: ../all.yaml\n")
    assert set(sources(load(team, {}).intent)) == {"tickets", "billing"}
    # One that is reached in two ways counts once; an empty one adds nothing.
    write(tmp_path / "empty.yaml", "# nothing yet\n")
    write(team, "name: team\ninclude: [../tickets, ../all.yaml, ../empty.yaml]\n")
    assert set(sources(load(team, {}).intent)) == {"tickets", "billing"}
    write(team, "name: team\ninclude: null\n")
    assert sources(load(team, {}).intent) == {}


def test_a_fragment_brings_services_that_run_in_its_directory(team: Path, tmp_path: Path) -> None:
    mail = "{image: mail, process: [./mail], ports: {web: auto}, volumes: ['./a:/a']}"
    write(tmp_path / "tickets" / FRAGMENT, f"services:\n  mail: {mail}\n")
    own = "services: {search: {process: [search], ports: {api: auto}, needs: [mail]}}\n"
    write(team, f"name: team\ninclude: ../tickets\n{own}")
    services = load(team, {}).intent.services
    assert [it.name for it in services] == ["mail", "search"]
    assert services[0].directory == str(tmp_path / "tickets")
    assert services[0].volumes == (f"{tmp_path}/tickets/a:/a",)
    assert services[1].directory == str(team.parent)
    local = "services: {mail: {ports: {web: 8025, smtp: 1025}}}\n"
    write(team.with_name("algaenv.local.yaml"), local)
    ports = load(team, {}).intent.services[0].ports
    assert [(it.name, it.port) for it in ports] == [("web", 8025), ("smtp", 1025)]
    write(team, f"name: team\ninclude: ../tickets\nservices: {{mail: {mail}}}\n")
    team.with_name("algaenv.local.yaml").unlink()
    (error,) = errors_of(team)
    assert "error[spec-include-conflict]: cannot add services.mail: algaenv.yaml:3:12 has" in error


def test_layers_lie_over_each_other_with_their_fragments(team: Path, tmp_path: Path) -> None:
    """The base with its own, the spec with its own, the local file with its own."""
    source(tmp_path / "mine")
    write(tmp_path / "mine" / FRAGMENT, "extensions: {mine: .}\n")
    write(tmp_path / "base.yaml", "extensions: {tickets: {source: ./none, enabled: no}}\n")
    write(team, "name: team\nextends: ../base.yaml\ninclude: ../tickets\n")
    write(
        team.with_name("algaenv.local.yaml"),
        "include: ../mine\nextensions: {tickets: {config: {greeting: ahoy}}}\n",
    )
    intent = load(team, {}).intent
    assert set(sources(intent)) == {"tickets", "mine"}
    (tickets,) = (it for it in intent.extensions if it.name == "tickets")
    assert (tickets.source, tickets.enabled) == (str(tmp_path / "tickets"), False)
    assert tickets.config == {"greeting": "ahoy"}
    settings = explain_field(team, {}, "extensions.tickets.config.greeting").settings
    assert [Path(it.where.file).name for it in settings] == ["algaenv.local.yaml", FRAGMENT]
    (setting,) = explain_field(team, {}, "extensions.tickets.enabled").settings
    assert Path(setting.where.file).name == "base.yaml"


def test_a_name_that_is_there_already_is_refused_with_both_places(
    team: Path, tmp_path: Path
) -> None:
    write(tmp_path / "billing/parts.yaml", "extensions:\n  tickets: ./ext\n  own: ./ext\n")
    errors = errors_of(team)
    place = f"{tmp_path}/billing/parts.yaml"
    assert [it.partition("\n")[0] for it in errors] == [
        f"{place}:2:3: error[spec-include-conflict]: cannot add extensions.tickets: "
        f"{tmp_path}/tickets/{FRAGMENT}:3:3 has it already",
        f"{place}:3:3: error[spec-include-conflict]: cannot add extensions.own: "
        "algaenv.yaml:3:14 has it already",
    ]


def test_a_circle_is_named(team: Path, tmp_path: Path) -> None:
    write(tmp_path / "team/a.yaml", "include: ./b.yaml\n")
    write(tmp_path / "team/b.yaml", "include: ./a.yaml\n")
    write(team, "name: team\ninclude: ./a.yaml\n")
    assert errors_of(team) == [
        "b.yaml:1:10: error[spec-include-cycle]: cannot include a.yaml: a.yaml → b.yaml → a.yaml "
        "is a circle\n  hint: break the circle"
    ]
    write(tmp_path / "team/b.yaml", "include: ./algaenv.yaml\n")
    assert "algaenv.yaml → a.yaml → b.yaml → algaenv.yaml is a circle" in errors_of(team)[0]


def test_a_long_row_is_refused(team: Path, tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / f"team/{number}.yaml", f"include: ./{number + 1}.yaml\n")
    write(team, "name: team\ninclude: ./0.yaml\n")
    (error,) = errors_of(team)
    assert error.startswith("7.yaml:1:10: error[spec-include-depth]: cannot include 8.yaml")
    write(tmp_path / "team/7.yaml", "extensions: {}\n")
    assert load(team, {}).intent.extensions == ()


def test_all_mistakes_are_told_at_once(team: Path, tmp_path: Path) -> None:
    write(tmp_path / "tickets" / FRAGMENT, "redis: {}\nextension: {}\nextensions: [a]\n")
    write(
        team, "name: team\ninclude: [../tickets, ./missing.yaml, 7, '', {a: b}, ../billing]\nrds: 1"
    )
    told = [it.partition(": cannot")[0].partition("error")[2] for it in errors_of(team)]
    assert sorted(told) == sorted(
        ["[spec-include-key]"] * 2
        + ["[spec-missing]"] * 2
        + ["[spec-type]"] * 4
        + ["[spec-key-unknown]"]
    )
    told_all = "\n".join(errors_of(team))
    assert "did you mean `extensions`?" in told_all
    assert "find the file ../billing/algaenv.fragment.yaml" not in told_all  # absolute here
    assert f"cannot find the file {tmp_path}/billing/{FRAGMENT}" in told_all


def test_a_spec_that_is_named_by_a_relative_path_is_read_alike(
    team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(team.parent)
    intent = load(Path("algaenv.yaml"), {}).intent
    assert sources(intent)["tickets"] == str(tmp_path / "tickets")
    assert intent.extensions[1].where.file == f"../tickets/{FRAGMENT}"
    monkeypatch.setenv("HOME", str(tmp_path))
    write(team, "name: team\ninclude: ['~/tickets', '~/billing/parts.yaml']\n")
    assert set(sources(load(Path("algaenv.yaml"), {}).intent)) == {"tickets", "billing"}


def test_the_schema_takes_what_a_fragment_may_hold() -> None:
    schema = fragment_schema()
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)

    def wrong(document: object) -> list[str]:
        return [it.message for it in validator.iter_errors(document)]

    assert wrong({"version": 1, "include": ["./a"], "extensions": {"a": "."}, "x-b": 1}) == []
    assert (
        wrong({"include": "./a", "extensions": {"a": {"source": ".", "checks": ["GET /"]}}}) == []
    )
    assert wrong({"name": "demo"})
    assert wrong({"extensions": {"a": {"enabled": True}}})
    assert wrong({"extensions": {"a": {"source": ".", "bogus": 1}}})
    assert "database" not in json.dumps(schema)
