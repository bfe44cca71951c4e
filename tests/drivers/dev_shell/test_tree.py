"""What becomes the bundle of a handler that runs from source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algaenv.bundle.collect import collect
from algaenv.bundle.layout import DEV_MARKER, DEV_SCRIPT, DEV_SOURCE_MAP
from algaenv.drivers.dev_shell import Bundled, dev_tree, find_entry
from algaenv.model.problem import ResolveError
from algaenv.runner.components.shell import shell_digest

EXPORTS = "export function handler() {}\n"
BUNDLED = Bundled(b"exports.handler = 1;", b"{}", ())
MANIFEST = {
    "name": "notes",
    "publisher": "us",
    "version": "1.0.0",
    "runtime": "wasm-js@1",
    "api": {"endpoints": [{"method": "GET", "path": "/", "handler": "handler"}]},
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def scripts(**commands: str) -> str:
    return json.dumps({"scripts": commands})


@pytest.mark.parametrize(
    ("files", "entry"),
    [
        ({"src/handler.ts": EXPORTS, "src/index.ts": EXPORTS}, "src/handler.ts"),
        ({"src/handler.js": "export const handler = async () => {};"}, "src/handler.js"),
        ({"src/index.ts": "const a = 1;\nexport { a, b as handler };"}, "src/index.ts"),
        ({"src/index.ts": 'export * from "./handlers";'}, "src/index.ts"),
        (
            {
                "package.json": scripts(
                    bundle="esbuild --bundle ./src/main.ts --format=esm", ui="esbuild ui/a.ts"
                ),
                "src/main.ts": EXPORTS,
                "src/index.ts": EXPORTS,
                "ui/a.ts": "document.title",
            },
            "src/main.ts",
        ),
        (
            {
                "package.json": scripts(build="node scripts/build.mjs && echo"),
                "scripts/build.mjs": 'await build({ entryPoints: ["src/component.ts"] })',
                "src/component.ts": EXPORTS,
            },
            "src/component.ts",
        ),
        ({"src/index.ts": "render(document.body);", "package.json": "[]"}, None),
        ({"src/lib.rs": "fn handler() {}"}, None),
        ({}, None),
    ],
)
def test_the_entry(tmp_path: Path, files: dict[str, str], entry: str | None) -> None:
    found = find_entry(write(tmp_path, files))
    assert found == (None if entry is None else tmp_path / entry)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(
        tmp_path / "source",
        {
            "manifest.json": json.dumps(MANIFEST),
            "src/handler.ts": EXPORTS,
            "dist/main.wasm": "what was built before",
            "dist/main.js": "what the author's build left",
            "ui/index.html": "<!doctype html><title>x</title>",
            "ui/assets/app.css": "a {}",
        },
    )


def files(folder: Path) -> set[str]:
    return {str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file()}


def test_it_is_packed_as_a_bundle(source: Path, tmp_path: Path) -> None:
    into = dev_tree(source, BUNDLED, tmp_path / "private/tree")
    tree = collect(into)
    assert [entry.path for entry in tree.entries] == [
        DEV_MARKER,
        DEV_SCRIPT,
        DEV_SOURCE_MAP,
        "manifest.json",
        "ui/assets/app.css",
        "ui/index.html",
    ]
    assert tree.warnings == ()
    assert (into / DEV_SCRIPT).read_bytes() == BUNDLED.text
    marker = json.loads((into / DEV_MARKER).read_text())
    assert marker == {"version": 1, "shell": shell_digest().hex}


def test_the_source_itself_is_packed_as_before(source: Path, tmp_path: Path) -> None:
    dev_tree(source, BUNDLED, tmp_path / "tree")
    paths = [entry.path for entry in collect(source).entries]
    assert paths == ["dist/main.wasm", "manifest.json", "ui/assets/app.css", "ui/index.html"]


def test_only_what_changed_is_written(source: Path, tmp_path: Path) -> None:
    into = dev_tree(source, BUNDLED, tmp_path / "tree")
    before = {name: (into / name).stat().st_ino for name in files(into)}
    (source / "ui/assets/app.css").unlink()
    write(source, {"ui/index.html": "<!doctype html><title>changed</title>", "ui/new.js": "1"})
    dev_tree(source, Bundled(b"exports.handler = 2;", b"{}", ()), into)
    assert files(into) == (set(before) - {"ui/assets/app.css"}) | {"ui/new.js"}
    assert "changed" in (into / "ui/index.html").read_text()
    after = {name: (into / name).stat().st_ino for name in files(into)}
    same = {name for name, inode in before.items() if after.get(name) == inode}
    assert same == {"manifest.json", DEV_MARKER, DEV_SOURCE_MAP}
    assert not (into / "ui/assets").exists()


def test_a_link_is_reported_where_it_is(source: Path, tmp_path: Path) -> None:
    (source / "ui/link.js").symlink_to(source / "src/handler.ts")
    with pytest.raises(ResolveError) as caught:
        dev_tree(source, BUNDLED, tmp_path / "tree")
    (problem,) = caught.value.problems
    assert problem.code == "source-link"
    assert problem.where is not None
    assert problem.where.file == str(source / "ui/link.js")


def test_a_file_takes_the_place_of_a_directory(source: Path, tmp_path: Path) -> None:
    write(source, {"ui/a/b.js": "1"})
    into = dev_tree(source, BUNDLED, tmp_path / "tree")
    (source / "ui/a/b.js").unlink()
    (source / "ui/a").rmdir()
    write(source, {"ui/a": "1"})
    dev_tree(source, BUNDLED, into)
    assert (into / "ui/a").read_text() == "1"
