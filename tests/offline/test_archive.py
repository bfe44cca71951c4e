"""Offline archives: what is written is read, and what is damaged changes nothing."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import pytest
import zstandard

from algaenv.model.problem import Failed
from algaenv.offline import archive
from algaenv.offline.archive import Content, Manifest
from algaenv.offline.restore import Imported, restore
from algaenv.runtimes.binaries import candidates, platform_here

ABOUT = Manifest("0.1.0", platform_here(), "demo", {"tenacity": "0.0"}, ())


def content(kind: str, name: str, data: bytes, **details: str) -> Content:
    def write(stream: IO[bytes]) -> None:
        stream.write(data)

    return Content(kind, name, write, details)


def tar_of(files: Mapping[str, bytes], link: tuple[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
        if link:
            header = tarfile.TarInfo(link[0])
            header.type, header.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(header)
    return stream.getvalue()


KEY = "0123456789abcdef0123456789abcdef"
NODE = tar_of(
    {"node_modules/esbuild/bin/esbuild": b"x"},
    ("node_modules/.bin/esbuild", "../esbuild/bin/esbuild"),
)
CONTENTS = (
    content("wheel", "a-1-py3-none-any.whl", b"wheel" * 1000),
    content("program", "minio", b"#!/bin/sh\n"),
    content("node", f"{KEY}.tar", NODE),
    content("lock", "algaenv.lock", b"version = 1\n"),
    content("image", "store.tar", b"image", title="x:1", id="sha256:1"),
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "all.tar.zst"
    manifest = archive.write(path, CONTENTS, ABOUT, lambda _line: None)
    assert [it.path for it in manifest.entries] == [f"{it.kind}/{it.name}" for it in CONTENTS]
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Another user, and no engine."""
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
        "PATH": "/usr/bin:/bin",
    }


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site" / "algaenv.yaml"


def files_below(root: Path) -> dict[str, bytes]:
    return {
        it.relative_to(root).as_posix(): it.read_bytes()
        for it in sorted(root.rglob("*"))
        if it.is_file() and not it.name.endswith(".json")
    }


Import = Callable[[Path], Imported]


@pytest.fixture
def import_(spec: Path, environ: Mapping[str, str]) -> Import:
    return lambda path: restore(path, spec, environ, lambda _line: None)


def test_everything_gets_its_place_and_a_second_import_changes_nothing(
    written: Path, tmp_path: Path, spec: Path, import_: Import
) -> None:
    found = import_(written)
    cache = tmp_path / "cache" / "algaenv"
    placed = files_below(cache)
    assert placed == {
        f"node/{KEY}/node_modules/.bin/esbuild": b"x",
        f"node/{KEY}/node_modules/esbuild/bin/esbuild": b"x",
        "programs/minio": b"#!/bin/sh\n",
        "wheels/a-1-py3-none-any.whl": b"wheel" * 1000,
    }
    assert (spec.parent / "algaenv.lock").read_bytes() == b"version = 1\n"
    assert list(found.skipped) == ["image/store.tar"]
    assert "no engine answers" in found.skipped["image/store.tar"]
    assert found.packages == {"tenacity": "0.0"}
    program = next(candidates(("minio",), {"PATH": "/nowhere"}, cache))
    assert (program.path, program.origin) == (cache / "programs/minio", "an offline archive")
    (spec.parent / "algaenv.lock").write_text("version = 1 # mine\n")
    again = import_(written)
    assert files_below(cache) == placed
    assert again.skipped["lock/algaenv.lock"].endswith("says otherwise, and stays")
    assert (spec.parent / "algaenv.lock").read_text() == "version = 1 # mine\n"


def test_equal_contents_make_equal_archives(written: Path, tmp_path: Path) -> None:
    archive.write(tmp_path / "b", CONTENTS, ABOUT, lambda _line: None)
    assert (tmp_path / "b").read_bytes() == written.read_bytes()


def members(path: Path) -> dict[str, bytes]:
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {it.name: tar.extractfile(it).read() for it in tar}  # type: ignore[union-attr]


def rewritten(path: Path, files: Mapping[str, bytes]) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(tar_of(files)))


def _changed(path: Path) -> None:
    rewritten(path, members(path) | {"program/minio": b"#!/bin/rm\n"})


def _lacking(path: Path) -> None:
    rewritten(path, {n: it for n, it in members(path).items() if n != "program/minio"})


def _more(path: Path) -> None:
    rewritten(path, {"program/other": b"x"} | members(path))


def _outside(path: Path) -> None:
    rewritten(path, {"program/../../x": b"x"} | members(path))


def _after(path: Path) -> None:
    rewritten(path, members(path) | {"program/other": b"x"})


def _no_manifest(path: Path) -> None:
    rewritten(path, {n: it for n, it in members(path).items() if n != "manifest.json"})


def _newer(path: Path) -> None:
    told = json.loads(members(path)["manifest.json"])
    rewritten(path, members(path) | {"manifest.json": json.dumps({**told, "version": 2}).encode()})


def _nonsense(path: Path) -> None:
    rewritten(path, members(path) | {"manifest.json": b'{"version": 1, "entries": [1]}'})


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _text(path: Path) -> None:
    path.write_text("no archive")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_changed, "program/minio is not what its manifest says"),
        (_lacking, "program/minio is missing"),
        (_more, "program/other is not in its manifest"),
        (_outside, "'program/../../x', which has no place in it"),
        (_after, "'program/other' comes after its manifest"),
        (_no_manifest, "it has no manifest.json"),
        (_newer, "its version is 2, not 1"),
        (_nonsense, "its manifest cannot be read"),
        (_cut, "the archive is cut off"),
        (_flipped, ""),
        (_text, ""),
    ],
)
def test_nothing_of_a_damaged_archive_is_put_in_place(
    written: Path, spec: Path, import_: Import, damage: Callable[[Path], None], reason: str
) -> None:
    damage(written)
    with pytest.raises(Failed) as caught:
        import_(written)
    assert {it.code for it in caught.value.problems} == {"offline-invalid"}
    assert reason in str(caught.value)
    assert list((written.parent / "cache" / "algaenv").iterdir()) == []
    assert list(spec.parent.iterdir()) == []


def test_an_installation_that_reaches_outside_is_refused(tmp_path: Path, import_: Import) -> None:
    for bad in (tar_of({"../x": b"x"}), tar_of({}, ("a", "/etc/passwd")), b"no tar" * 100):
        path = tmp_path / "bad.tar.zst"
        archive.write(path, [content("node", f"{KEY}.tar", bad)], ABOUT, lambda _line: None)
        with pytest.raises(Failed) as caught:
            import_(path)
        assert caught.value.problem.code == "offline-invalid"
        assert list((tmp_path / "cache/algaenv/node").iterdir()) == []


def test_another_platform_is_refused(tmp_path: Path, import_: Import) -> None:
    about = Manifest("0.1.0", "plan9/mips", "demo", {}, ())
    archive.write(tmp_path / "a", CONTENTS, about, lambda _line: None)
    with pytest.raises(Failed) as caught:
        import_(tmp_path / "a")
    assert caught.value.problem.code == "offline-platform"
    assert "it is for plan9/mips" in caught.value.problem.summary
    assert list((tmp_path / "cache" / "algaenv").iterdir()) == []


def test_what_cannot_be_read_is_named(tmp_path: Path, import_: Import) -> None:
    with pytest.raises(Failed) as caught:
        import_(tmp_path / "none")
    assert caught.value.problem.code == "offline-unwritable"
    assert "No such file" in caught.value.problem.summary


def test_a_failed_export_leaves_the_archive_that_was_there(written: Path) -> None:
    before = written.read_bytes()

    def fail(_: IO[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        archive.write(written, [*CONTENTS, Content("program", "x", fail)], ABOUT, lambda _: None)
    assert written.read_bytes() == before
    assert [it.name for it in written.parent.iterdir() if it.is_file()] == [written.name]


def test_what_a_killed_import_left_is_removed(
    written: Path, tmp_path: Path, import_: Import
) -> None:
    left = tmp_path / "cache" / "algaenv" / ".import-999999999-x"
    (left / "wheel").mkdir(parents=True)
    import_(written)
    assert not left.exists()
