"""The templates that are shipped: complete, valid, and nothing of them left in what they make."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from algaenv.bundle.collect import collect
from algaenv.model.problem import Conflict, Failed
from algaenv.scaffold.files import write_directory, write_file
from algaenv.scaffold.templates import LABEL, NAME, PUBLISHER, fill, templates, templates_root
from tests.guests.recipe import WIT

NAMES = ("ui", "handler", "full")


def test_the_templates_that_are_shipped() -> None:
    known = templates()
    assert tuple(known) == NAMES
    parts = {part for template in known.values() for part in template.parts}
    assert parts == {it.name for it in templates_root().iterdir() if it.is_dir()}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_makes_a_bundle_without_complaint(name: str, tmp_path: Path) -> None:
    filled = fill(templates()[name], "time-sheet", "ACME", "./time-sheet")
    write_directory(tmp_path / "time-sheet", filled.files)
    if name != "ui":
        (tmp_path / "time-sheet/dist").mkdir()
        (tmp_path / "time-sheet/dist/main.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    tree = collect(tmp_path / "time-sheet")
    assert tree.warnings == ()
    packed = {entry.path for entry in tree.entries}
    assert ("ui/index.html" in packed) == (name != "handler")
    manifest = json.loads(filled.files["manifest.json"])
    assert (manifest["name"], manifest["publisher"]) == ("time-sheet", "ACME")
    text = b"\n".join(filled.files.values()).decode() + "\n".join(filled.entry)
    assert not [it for it in (NAME, PUBLISHER, LABEL) if it in text]
    assert "Time Sheet" in text
    assert filled.entry[0] == "source: ./time-sheet"


def test_the_types_name_every_interface_of_the_world() -> None:
    types = (templates_root() / "handler-files/types/alga-extension.d.ts").read_text()
    interfaces = [line.split()[1] for line in WIT.read_text().splitlines() if "interface " in line]
    assert len(interfaces) > 5
    for interface in interfaces:
        assert f"declare module 'alga:extension/{interface.rstrip('{')}'" in types


def test_a_directory_is_written_wholly_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("there", "file", "link"):
        with pytest.raises(Conflict, match="scaffold-exists"):
            write_directory(tmp_path / name, {"a": b"a"})
    with pytest.raises(Failed, match="scaffold-unwritable"):
        write_directory(tmp_path / "new", {"a": b"a", "a/b": b"b"})
    assert {it.name for it in tmp_path.iterdir()} == {"file", "link", "there"}
    (tmp_path / "empty").mkdir()
    write_directory(tmp_path / "empty", {"a/b": b"b"})
    assert (tmp_path / "empty/a/b").read_bytes() == b"b"


def test_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_file(link, b"new")
    assert (link.is_symlink(), real.read_text()) == (True, "new")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    with pytest.raises(Failed, match="scaffold-unwritable"):
        write_file(real / "below", b"new")
