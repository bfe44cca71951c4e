"""Every piece of a spec on a page is one that the program takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from algaenv.spec.include import FRAGMENT_FILE
from algaenv.spec.load import load
from tests.docs.pages import ROOT, Block, blocks, pages, read

PATH = re.compile(r"(file: )?(?<![\w/.])(\.\.?/[\w./-]*\w)(?![\w.]*:/)")
SET = re.compile(r"\$\{(\w+)|env: (\w+)")
MANIFEST = {"name": "com.example.piece", "publisher": "Example", "version": "1.0.0"}

SPECS = tuple(
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{block.line}")
    for page in pages()
    for block in blocks(read(page), "yaml")
)


@pytest.mark.parametrize("block", SPECS)
def test_a_spec_on_a_page_is_valid(block: Block, tmp_path: Path) -> None:
    here = tmp_path / "in" / "here"
    here.mkdir(parents=True)
    text = block.text if re.search("^name:", block.text, re.MULTILINE) else "name: piece\n"
    text += "" if text == block.text else block.text
    for file, path in PATH.findall(re.sub(r"^#.*$", "", text, flags=re.MULTILINE)):
        _make(here / path, is_file=bool(file) or path.endswith((".sql", ".json")))
    environ = {
        name: "postgresql://alga:pass@localhost:5432/server" if "URL" in name else "a-secret-value"
        for pair in SET.findall(text)
        for name in pair
        if name
    }
    spec = here / "algaenv.yaml"
    spec.write_text(text, encoding="utf-8")
    loaded = load(spec, environ)
    assert loaded.intent.name
    assert loaded.warnings == ()


def _make(path: Path, *, is_file: bool) -> None:
    """What a spec refers to: the file of a secret or a seed, a fragment, or a directory that serves
    as a source, a context or a place of a fragment."""
    if is_file:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n" if path.suffix == ".json" else "a-secret-value\n")
        return
    if path.suffix == ".yaml":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("version: 1\n")
        return
    path.mkdir(parents=True, exist_ok=True)
    (path / FRAGMENT_FILE).write_text("version: 1\n")
    (path / "manifest.json").write_text(json.dumps(MANIFEST))
    (path / "Dockerfile").write_text("FROM scratch\n")


def test_pieces_are_seen() -> None:
    where = [str(param.id) for param in SPECS]
    assert len(where) >= 8
    assert any(it.startswith("README.md") for it in where)
    assert any(it.startswith("docs/how-to/external-database.md") for it in where)
