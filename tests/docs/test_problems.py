"""Every problem code is registered for the package that raises it, and explained on the page."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from algaenv.problems import ProblemCode, load_problem_codes
from tests.docs.pages import read
from tests.docs.raised import KEBAB, PACKAGE, raised, words

PAGE = read("docs/reference/problems.md")
SECTION = re.compile(r"^## [^\n]+\n\n<!-- (\S+) -->\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(
    r'^\| (?:<a id="[a-z0-9-]+"></a>)?`([a-z0-9-]+)` \| ([^|]+) \| ([^|]+) \|$', re.MULTILINE
)
WHOLE_RUN = "reconcile"
"""Holds the codes of packages that have no section of their own."""
REGISTRY = load_problem_codes()


def plain(meaning: str) -> str:
    """Lists differ in whether their phrases are sentences; the page does not."""
    return meaning[0].lower() + meaning[1:].rstrip(".")


@cache
def sections_of(path: Path) -> list[str]:
    """The sections of the packages that hold a file."""
    inside = [name for name in REGISTRY if path.is_relative_to(PACKAGE.joinpath(*name.split(".")))]
    return inside or [WHOLE_RUN]


def row(code: ProblemCode) -> tuple[str, str, str]:
    return code.code, plain(code.meaning), code.hint


def test_every_section_is_a_table_of_the_page() -> None:
    tables = {
        name: sorted((code, plain(meaning), hint) for code, meaning, hint in ROW.findall(text))
        for name, text in SECTION.findall(PAGE)
    }
    assert tables == {name: sorted(map(row, codes)) for name, codes in REGISTRY.items()}
    assert len(re.findall(r"^\| (?:<a [^|]*)?`", PAGE, re.MULTILINE)) == sum(
        map(len, tables.values())
    )


def test_every_code_has_an_address_on_the_page() -> None:
    codes = {each.code for codes in REGISTRY.values() for each in codes}
    assert sorted(re.findall(r'<a id="([a-z0-9-]+)"></a>`\1`', PAGE)) == sorted(codes)


def test_what_a_reader_sees_has_a_place_among_the_troubles() -> None:
    text = read("docs/how-to/troubleshoot.md")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert {
        "The runner will not start",
        "An install fails",
        "A handler answers 404",
        "A component traps",
        "The frame is blank",
        "`extract_failed`",
        "`archive_hash_mismatch`",
        "Missing in the sidebar",
    } <= set(headings)
    codes = {each.code for rows in REGISTRY.values() for each in rows}
    named = re.findall(r"\[`([a-z-]+)`\]\([^)]*problems\.md#([a-z-]+)\)", text)
    assert len(named) > 15
    assert all(name == anchor and name in codes for name, anchor in named)


def test_every_code_has_a_hint() -> None:
    for codes in REGISTRY.values():
        for each in codes:
            assert len(each.hint.split()) > 1, each
            assert not each.hint.endswith("."), each


def test_every_code_that_is_raised_is_listed_in_its_package() -> None:
    known = {name: {each.code for each in codes} for name, codes in REGISTRY.items()}
    unlisted = {
        f"{path.relative_to(PACKAGE)}: {code}"
        for path, codes in raised().items()
        for code in codes
        if not any(code in known[name] for name in sections_of(path))
    }
    assert unlisted == set()
    assert sum(map(len, raised().values())) > 150


def test_every_code_that_is_listed_is_raised_in_its_package() -> None:
    used: dict[str, set[str]] = {name: set() for name in REGISTRY}
    for path, texts in words().items():
        for name in sections_of(path):
            used[name] |= texts
    idle = {
        f"{name}: {each.code}"
        for name, codes in REGISTRY.items()
        for each in codes
        if each.code not in used[name]
    }
    assert idle == set()


def test_codes_are_written_alike() -> None:
    words_alone = {"usage", "unexpected", "locked"}
    for codes in REGISTRY.values():
        for each in codes:
            assert KEBAB.fullmatch(each.code) or each.code in words_alone, each
