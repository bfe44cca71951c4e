"""Every fault of the product that the gateway reproduces has its section, and no other has one."""

from __future__ import annotations

import re

from algaenv.gateway.quirks import QUIRKS
from tests.docs.pages import read

PAGE = read("docs/explanation/product-faults.md")
SECTION = re.compile(r"^## `([a-z-]+)`\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
QUESTIONS = ("**What happens.**", "**In production**", "**Write**", "**Fixed**")


def test_every_fault_has_a_section_and_every_section_a_fault() -> None:
    assert [name for name, _ in SECTION.findall(PAGE)] == [fault.name for fault in QUIRKS]
    assert PAGE.count("\n## ") == len(QUIRKS)


def test_every_section_answers_the_same_questions() -> None:
    for name, text in SECTION.findall(PAGE):
        starts = [paragraph.lstrip() for paragraph in text.split("\n\n")]
        found = [it for it in QUESTIONS if any(start.startswith(it) for start in starts)]
        assert tuple(found) == QUESTIONS, name


def test_the_gateways_page_names_them_all() -> None:
    page = read("docs/reference/gateway.md")
    assert [fault.name for fault in QUIRKS if f"`{fault.name}`" not in page] == []
