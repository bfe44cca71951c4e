"""Figures between the marks of a page: `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

from pathlib import Path


def rewrite(page: Path, name: str, figures: str) -> None:
    """Put them there. Ends the program when the page has no such marks."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = page.read_text()
    before, opened, rest = text.partition(opening)
    _, closed, after = rest.partition(closing)
    if not (opened and closed):
        raise SystemExit(f"{page} lacks the lines {opening.strip()} and {closing.strip()}")
    page.write_text(f"{before}{opened}\n{figures}\n{closed}{after}")
