"""Every command line that a page or a hint gives can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from algaenv.cli.dispatch import read_command_line
from algaenv.cli.parser import UsageError
from tests.docs.pages import INLINE, ROOT, blocks, pages, prose, read
from tests.docs.raised import PACKAGE, words

LINE = re.compile(r"\balgaenv ((?:[^|>;)`\"#\n&]|>(?=\w))*)")


def reads(arguments: str) -> bool:
    """Whether the program would accept this command line; a request for help is one it does."""
    argv = [word for word in shlex.split(arguments) if word not in ("-h", "--help")]
    options, own = read_command_line(argv)
    return own is not None or not argv or options.version


def given(text: str) -> list[str]:
    """What follows the program's name wherever it is called; forms with `<…>` are left out."""
    lines = [line.strip() for line in LINE.findall(text)]
    return [line for line in lines if line and not re.search(r"[<\[{]", line)]


def of_page(page: Path) -> list[str]:
    text = read(page)
    code = [block.text for block in blocks(text) if block.language in ("console", "sh", "")]
    return [line for part in (*code, *INLINE.findall(prose(text))) for line in given(part)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_of_the_pages_can_be_read(page: Path) -> None:
    for line in of_page(page):
        assert reads(line), line


def test_command_lines_of_the_hints_can_be_read() -> None:
    hints = {
        line
        for texts in words().values()
        for text in texts
        for code in INLINE.findall(text)
        if code.startswith("`algaenv ")
        for line in given(code)
    }
    assert {"up --adopt", "down --volumes"} <= hints
    assert all(map(reads, hints))


OURS = ("algaenv", "docker", "npm", "git", "pip", "kill", "node", "chmod")
"""Programs that a hint may suggest."""


def test_what_a_hint_says_to_type_begins_with_a_program_or_a_key() -> None:
    """In backticks stands a command, a key or value of the spec, or something of a manifest."""
    runs = re.compile(r"(?:run|with|try|see|anew with) `([a-z][a-z-]*) [^`]*`")
    apart = ("gateway", "runner")
    found = {
        match[1]
        for path, texts in words().items()
        for text in texts
        for match in runs.finditer(text)
        if path.relative_to(PACKAGE).parts[0] not in apart and "\n" not in text
    }
    assert "algaenv" in found
    assert found <= set(OURS)


def test_no_hint_sends_to_a_log_without_saying_where_it_is() -> None:
    vague = re.compile(r"\b(?:look at|read|see) (?:its|the) logs?\b|\bits log (?:has|says|may)\b")
    apart = ("gateway", "runner")  # services that do not know where their output is kept
    for path, texts in words().items():
        if path.relative_to(PACKAGE).parts[0] not in apart:
            assert not [text for text in texts if vague.search(text)], path


def test_command_lines_are_seen() -> None:
    assert given('set -a; eval "$(algaenv status -o env)"; set +a') == ["status -o env"]
    assert given("algaenv up -f team   # now\nalgaenv <command> --help") == ["up -f team"]
    assert sum(len(of_page(page)) for page in pages()) > 30
    with pytest.raises(UsageError):
        reads("up --adpot")
