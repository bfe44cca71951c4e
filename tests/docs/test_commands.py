"""Every command line that a page or a hint gives can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from algaenv.surface.cli.commands import parser_of
from algaenv.surface.cli.dispatch import top_parser
from algaenv.surface.cli.grammar import UsageError
from tests.docs.pages import INLINE, ROOT, blocks, pages, prose, read
from tests.docs.raised import words

LINE = re.compile(r"\balgaenv ((?:[^|>;)`\"#\n&]|>(?=\w))*)")


def reads(arguments: str) -> bool:
    """Whether the program would accept this command line; a request for help is one it does."""
    argv = [word for word in shlex.split(arguments) if word not in ("-h", "--help")]
    options = top_parser().read(argv)
    if options.command is None:
        return not argv or options.version
    parser_of(options.command).read([*argv[: len(argv) - len(options.rest) - 1], *options.rest])
    return True


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


def test_command_lines_are_seen() -> None:
    assert given('set -a; eval "$(algaenv status -o env)"; set +a') == ["status -o env"]
    assert given("algaenv up -f team   # now\nalgaenv <command> --help") == ["up -f team"]
    assert sum(len(of_page(page)) for page in pages()) > 30
    with pytest.raises(UsageError):
        reads("up --adpot")
