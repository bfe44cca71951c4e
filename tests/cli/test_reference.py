"""The reference pages name every command, option and exit code, and nothing that is not there."""

from __future__ import annotations

import re

import pytest

from algaenv.cli.commands import COMMANDS
from algaenv.cli.dispatch import command_module, parser_of, read_command_line, top_parser
from algaenv.cli.exit_codes import MEANINGS
from algaenv.cli.output.dev_lines import dev_event_to_json
from algaenv.cli.output.json import event_to_json
from tests.cli.schemas import REFERENCE
from tests.cli.test_dev_output import OWN
from tests.cli.test_json import ALL

PAGE = (REFERENCE / "commands.md").read_text(encoding="utf-8")
OPTION = re.compile(r"`(--?[a-z][a-z-]*)(?: [A-Z]+)?`")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def table_options(text: str) -> set[str]:
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `-")]
    return {name for row in rows for name in OPTION.findall(row)}


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS])
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    assert table_options(section(name)) == set(parser_of(name).option_names())


def test_every_option_before_the_command_is_documented() -> None:
    shared = table_options(section("Options that several commands share"))
    assert set(top_parser().option_names()) - {"--version"} <= shared
    assert "`algaenv --version`" in PAGE


@pytest.mark.parametrize(("name", "summary"), COMMANDS)
def test_every_command_is_listed_as_help_lists_it(name: str, summary: str) -> None:
    assert f"| [`{name}`](#{name}) | {summary} |" in PAGE


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS])
def test_examples_are_command_lines_that_parse(name: str) -> None:
    for line, _ in command_module(name).EXAMPLES:
        words = line.partition(" |")[0].partition(" >")[0].split()
        if words[0] == "algaenv":
            assert words[1] == name
            read_command_line(words[1:])


def test_every_event_is_listed() -> None:
    listed = set(
        re.findall(
            r"`([a-z_]+)`",
            "".join(
                line.split(" | ")[0]
                for line in section("Events").splitlines()
                if line.startswith("| `")
            ),
        )
    )
    own = {dev_event_to_json(event)["event"] for event in OWN}
    assert listed == own | {event_to_json(event)["event"] for event in ALL}


def test_every_exit_code_is_documented() -> None:
    page = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([a-z_]+) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(str(int(code)), code.name.lower(), meaning) for code, meaning in MEANINGS]


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in ("commands.md", "exit-codes.md"):
        text = (REFERENCE / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (REFERENCE / target).is_file(), target


def test_every_problem_code_of_the_command_line_is_listed_and_used() -> None:
    from pathlib import Path

    import algaenv.cli
    from algaenv.problems import load_problem_codes

    root = Path(algaenv.cli.__file__).parent
    source = "".join(path.read_text() for path in root.rglob("*.py"))
    used = set(re.findall(r'code="([a-z-]+)"', source)) | set(
        re.findall(r'Problem\("([a-z-]+)"', source)
    )
    assert used == {each.code for each in load_problem_codes()["cli"]}
