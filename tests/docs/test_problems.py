"""Every problem code is listed beside the code that raises it, and explained on the page."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import read
from tests.docs.raised import KEBAB, PACKAGE, lists, raised, words

PAGE = read("docs/reference/problems.md")
SECTION = re.compile(r"^## [^\n]+\n\n<!-- (\S+) -->\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
WHOLE_RUN = "algaenv.reconcile.codes"
"""Lists the codes of packages that have no list of their own."""


def plain(meaning: str) -> str:
    """Lists differ in whether their phrases are sentences; the page does not."""
    return meaning[0].lower() + meaning[1:].rstrip(".")


def lists_of(path: Path) -> list[str]:
    """The lists of the packages that hold a file."""
    inside = [
        name for name in lists() if path.is_relative_to(PACKAGE.joinpath(*name.split(".")[1:-1]))
    ]
    return inside or [WHOLE_RUN]


def test_every_list_is_a_table_of_the_page() -> None:
    tables = {
        name: [(code, plain(meaning)) for code, meaning, _ in ROW.findall(text)]
        for name, text in SECTION.findall(PAGE)
    }
    listed = {
        name: sorted((code, plain(meaning)) for code, meaning in codes)
        for name, codes in lists().items()
    }
    assert {name: sorted(rows) for name, rows in tables.items()} == listed
    assert len(re.findall(r"^\| `", PAGE, re.MULTILINE)) == sum(map(len, tables.values()))


def test_every_row_says_what_to_do() -> None:
    for code, _, advice in ROW.findall(PAGE):
        assert len(advice.split()) > 1, code
        assert not advice.endswith("."), code


def test_within_a_list_a_code_stands_once() -> None:
    for name, codes in lists().items():
        assert len(codes) == len(dict(codes)), name


def test_every_code_that_is_raised_is_listed_in_its_package() -> None:
    known = {name: {code for code, _ in codes} for name, codes in lists().items()}
    unlisted = {
        f"{path.relative_to(PACKAGE)}: {code}"
        for path, codes in raised().items()
        for code in codes
        if not any(code in known[name] for name in lists_of(path))
    }
    assert unlisted == set()
    assert sum(map(len, raised().values())) > 150


def test_every_code_that_is_listed_is_raised_in_its_package() -> None:
    spoken: dict[str, set[str]] = {name: set() for name in lists()}
    for path, texts in words().items():
        for name in lists_of(path):
            spoken[name] |= texts
    idle = {
        f"{name}: {code}"
        for name, codes in lists().items()
        for code, _ in codes
        if code not in spoken[name]
    }
    assert idle == set()


def test_codes_are_written_alike() -> None:
    words_alone = {"usage", "unexpected", "locked"}
    for codes in lists().values():
        for code, _ in codes:
            assert KEBAB.fullmatch(code) or code in words_alone, code
