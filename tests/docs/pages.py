"""The Markdown of this repository, as tests read it: pages, headings, links, blocks, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`]+`")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
ID = re.compile(r'<a id="([^"]+)"></a>')
HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")


def pages() -> tuple[Path, ...]:
    """Every page that is ours, tools' own directories and what `make docs` made left out."""
    found = []
    for page in ROOT.rglob("*.md"):
        parts = page.relative_to(ROOT).parts
        if parts[0] != "site" and not any(part.startswith(".") for part in parts):
            found.append(page)
    return tuple(sorted(found))


def read(page: str | Path) -> str:
    """A page by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is that of its first fence."""

    language: str
    text: str
    line: int


def blocks(text: str, language: str = "") -> tuple[Block, ...]:
    """The fenced blocks, or those of one language."""
    found = (Block(m[2], m[3], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text))
    return tuple(block for block in found if language in ("", block.language))


def prose(text: str) -> str:
    """The page without its blocks."""
    return FENCE.sub("", text)


def links(text: str) -> tuple[str, ...]:
    """What the links of a page point to; code is not looked at, link texts are."""
    return tuple(LINK.findall(INLINE.sub("`code`", prose(text))))


def anchors(text: str) -> set[str]:
    """The fragments that lead to a heading, made as GitHub makes them, or to an `<a id>`."""
    found = dict.fromkeys(ID.findall(prose(text)), 0)
    for heading in HEADING.findall(prose(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found)


def typed(block: Block) -> tuple[str, ...]:
    """The commands of a console block, each with its here-document; what they print is left out."""
    return tuple(_commands(iter(block.text.splitlines())))


def _commands(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line[2:]
        if mark := HEREDOC.search(command):
            for further in lines:
                command += f"\n{further}"
                if further == mark[1]:
                    break
        while command.endswith("\\"):
            command += f"\n{next(lines).removeprefix('> ')}"
        yield command
