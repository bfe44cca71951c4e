"""Native code is loaded only from where nobody else can write."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compile_cache import CompileDirectory, is_noexec
from algaenv.runner.components.compiled import CompiledComponents
from algaenv.runner.wasm.failure import FailureKind, GuestFailure

from .components import kept, small

WASM = Digest.of(b"component")


@pytest.fixture
def folder(tmp_path: Path) -> CompileDirectory:
    made = CompileDirectory(tmp_path)
    made.prepare()
    return made


def refused(folder: CompileDirectory, words: str) -> None:
    with pytest.raises(GuestFailure, match=words) as caught:
        folder.has(folder.path_of(WASM))
    assert caught.value.kind is FailureKind.HOST


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
@pytest.mark.parametrize("which", [".algaenv", ".algaenv/compiled"])
def test_a_directory_that_others_can_write_to(
    tmp_path: Path, folder: CompileDirectory, which: str, mode: int
) -> None:
    folder.path_of(WASM).touch(mode=0o600)
    assert folder.has(folder.path_of(WASM))
    (tmp_path / which).chmod(mode)
    refused(folder, rf"others can write to it \(0{mode:o}\)")
    with pytest.raises(GuestFailure, match="others can write"):
        folder.prepare()


def test_nothing_is_compiled_into_it_either(tmp_path: Path) -> None:
    (tmp_path / ".algaenv").mkdir(mode=0o700)
    (tmp_path / ".algaenv").chmod(0o777)
    with pytest.raises(GuestFailure, match="others can write"):
        asyncio.run(CompiledComponents(tmp_path).ensure(*kept(tmp_path, small())))
    assert list((tmp_path / ".algaenv").rglob("*.cwasm")) == []


def test_a_file_that_others_can_write_to(folder: CompileDirectory) -> None:
    folder.path_of(WASM).touch()
    folder.path_of(WASM).chmod(0o622)
    refused(folder, "others can write to it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
@pytest.mark.parametrize("which", ["folder", "file"])
def test_what_belongs_to_somebody_else(folder: CompileDirectory, which: str) -> None:
    folder.path_of(WASM).touch(mode=0o600)
    os.chown(folder.path if which == "folder" else folder.path_of(WASM), 12345, -1)
    refused(folder, "it belongs to user 12345")


def test_links_are_not_followed(tmp_path: Path, folder: CompileDirectory) -> None:
    (tmp_path / "elsewhere").touch(mode=0o600)
    folder.path_of(WASM).symlink_to(tmp_path / "elsewhere")
    refused(folder, "not a plain file")
    folder.path_of(WASM).unlink()
    folder.path.rename(tmp_path / "moved")
    folder.path.symlink_to(tmp_path / "moved")
    folder.path_of(WASM).touch(mode=0o600)
    refused(folder, "not a directory")


def test_engines_do_not_meet(folder: CompileDirectory, monkeypatch: pytest.MonkeyPatch) -> None:

    before = folder.path_of(WASM)
    from algaenv.runner.wasm import engine_config

    monkeypatch.setattr(engine_config, "fingerprint", lambda: "another engine")
    other = CompileDirectory(folder.path.parent.parent)
    assert other.path_of(WASM) != before
    assert other.path_of(WASM).name.startswith(WASM.hex)


def test_what_was_noted_of_a_bundle(folder: CompileDirectory) -> None:
    bundle = Digest.of(b"bundle")
    assert folder.component_of(bundle) is None
    folder.note(bundle, WASM)
    assert folder.component_of(bundle) == WASM
    folder.note(bundle, Digest.of(b"another"))
    assert folder.component_of(bundle) == Digest.of(b"another")
    (folder.bundles / bundle.hex).write_text("junk")
    assert folder.component_of(bundle) is None
    folder.remove_note(bundle)
    folder.remove_note(bundle)
    assert not (folder.bundles / bundle.hex).exists()
    assert list(folder.temporary.iterdir()) == []


@pytest.fixture
def noexec() -> Iterator[Path]:
    place = next((Path(each) for each in ("/dev/shm", "/run/lock") if is_noexec(Path(each))), None)
    if place is None or not os.access(place, os.W_OK):
        pytest.skip("not applicable: no writable noexec file system here")
    with tempfile.TemporaryDirectory(dir=place) as inside:
        yield Path(inside)


def test_noexec_is_noticed(noexec: Path, tmp_path: Path) -> None:
    assert is_noexec(noexec)
    assert not is_noexec(tmp_path / "missing")


def test_what_is_on_a_read_only_disk_can_be_used(tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path / "bundles", small())
    root = tmp_path / "cache"
    file = asyncio.run(CompiledComponents(root).ensure(bundle, wasm))
    inside = [each for each in (root, *root.rglob("*")) if each.is_dir()]
    for each in inside:
        each.chmod(0o500)
    try:
        assert asyncio.run(CompiledComponents(root).ensure(bundle, wasm)) == file
    finally:
        for each in inside:
            each.chmod(0o700)
