"""Every link has a target, and every page is linked."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import ROOT, anchors, links, pages, read


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [link for link in links(read(page)) if not _leads(page, link)]
    assert broken == []


def _leads(page: Path, link: str) -> bool:
    url = urlsplit(link)
    if url.scheme:
        return url.scheme == "https" and bool(url.netloc)
    target = (page.parent / url.path).resolve() if url.path else page
    if not (target.exists() and target.is_relative_to(ROOT)):
        return False
    return not url.fragment or (target.suffix == ".md" and url.fragment in anchors(read(target)))


def test_links_and_anchors_are_seen() -> None:
    assert links("a [b\nc](d.md#e) `[f](g)` ![h](i.png)\n```\n[j](k)\n```\n") == (
        "d.md#e",
        "i.png",
    )
    assert anchors("# A `b`: c, d\n## Up\n## Up\n") == {"a-b-c-d", "up", "up-1"}
    assert sum(len(links(read(page))) for page in pages()) > 20


def test_every_page_can_be_found_from_the_readme() -> None:
    found, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found or page.suffix != ".md" or not page.is_file():
            continue
        found.add(page)
        waiting += [
            (page.parent / urlsplit(link).path).resolve()
            for link in links(read(page))
            if not urlsplit(link).scheme and urlsplit(link).path
        ]
    lost = {page for page in pages() if page.is_relative_to(ROOT / "docs")} - found
    assert {str(page.relative_to(ROOT)) for page in lost} == set()


def test_no_page_holds_a_gap_that_was_to_be_filled() -> None:
    gap = re.compile(r"\b(?:TODO|FIXME|TBD|XXX)\b|^[A-Z]+_[A-Z_]+$", re.MULTILINE)
    assert {str(page.relative_to(ROOT)): gap.findall(read(page)) for page in pages()} == {
        str(page.relative_to(ROOT)): [] for page in pages()
    }
