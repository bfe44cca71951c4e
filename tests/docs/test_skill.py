"""The page for agents has the form that they read, and is true."""

from __future__ import annotations

import re

import yaml

from algaenv.cli.commands import COMMANDS
from algaenv.cli.exit_codes import ExitCode
from tests.docs.pages import ROOT, read
from tests.docs.test_commands import of_page, reads

PATH = ROOT / "docs" / "agents" / "SKILL.md"


def test_the_front_matter_names_and_describes_it() -> None:
    _, front, body = read(PATH).split("---\n", 2)
    about = yaml.safe_load(front)
    assert set(about) == {"name", "description"}
    assert re.fullmatch(r"[a-z0-9-]{1,64}", about["name"])
    assert 40 < len(about["description"]) <= 1024
    assert "Use it when" in about["description"]
    assert body.lstrip().startswith("# ")
    assert len(body.splitlines()) < 500


def test_every_command_line_can_be_typed() -> None:
    lines = of_page(PATH)
    assert len(lines) > 20
    for line in lines:
        assert reads(line), line
    used = {line.split()[0] for line in lines}
    assert {"status", "plan", "up", "call", "logs", "trace", "test", "mcp"} <= used
    assert used <= {name for name, _ in COMMANDS}


def test_the_exit_codes_are_those_of_the_program() -> None:
    (sentence,) = re.findall(r"exit code first: (.+?)\.\n", read(PATH), re.DOTALL)
    found = {int(code) for code in re.findall(r"\b(\d+) ", sentence)}
    assert found <= {int(code) for code in ExitCode}
    assert {0, 2, 3, 6, 7, 8, 9, 10} <= found
