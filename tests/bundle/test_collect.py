import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from algaenv.bundle.collect import collect
from algaenv.bundle.component import COMPONENT
from algaenv.bundle.diagnostics import Diagnostic, has_errors
from algaenv.bundle.layout import Limits
from algaenv.bundle.source_tree import SourceError, SourceTree
from tests.bundle.sources import PAGE, manifest, source, write

ENDPOINTS = {"endpoints": [{"method": "GET", "path": "/a", "handler": "h"}]}


def paths(tree: SourceTree) -> list[str]:
    return [entry.path for entry in tree.entries]


def diagnostics(root: Path, limits: Limits | None = None) -> tuple[Diagnostic, ...]:
    with pytest.raises(SourceError) as refused:
        collect(root, limits or Limits())
    assert has_errors(refused.value.diagnostics)
    for diagnostic in refused.value.diagnostics:
        assert diagnostic.summary.startswith("cannot ")
        assert diagnostic.hint
        assert diagnostic.file.startswith(str(root))
        assert str(diagnostic).encode()
    return refused.value.diagnostics


def codes(root: Path, limits: Limits | None = None) -> list[str]:
    return [diagnostic.code for diagnostic in diagnostics(root, limits)]


# -- what is packed -----------------------------------------------------------------------------


def test_a_page_alone(tmp_path: Path) -> None:
    tree = collect(source(tmp_path, {"ui/b/c.js": b"1", "ui/a.css": b"22"}))
    assert paths(tree) == ["manifest.json", "ui/a.css", "ui/b/c.js", "ui/index.html"]
    assert [entry.size for entry in tree.entries][1:] == [2, 1, len(PAGE)]
    assert tree.size == sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    assert tree.manifest.name == "com.example.demo"
    assert tree.warnings == ()


def test_everything_a_project_may_have(tmp_path: Path) -> None:
    files = {
        "dist/main.wasm": b"\0asm",
        "dist/component.wasm": b"older",
        "dist/js/handler.js": b"",
        "dist/bundle.tar.zst": b"",
        "artifacts/component/component.wasm": b"\0asm",
        "precompiled/x.cwasm": b"",
        "wit/world.wit": b"",
        "SIGNATURE": b"",
        "sbom.spdx.json": b"{}",
        "src/handler.ts": b"",
        "package.json": b"{}",
        "README.md": b"",
    }
    tree = collect(source(tmp_path, files, api=ENDPOINTS))
    assert paths(tree) == [
        "SIGNATURE",
        "artifacts/component/component.wasm",
        "dist/main.wasm",
        "manifest.json",
        "precompiled/x.cwasm",
        "sbom.spdx.json",
        "ui/index.html",
        "wit/world.wit",
    ]
    assert (tmp_path / "dist/main.wasm") in {entry.source for entry in tree.entries}


def test_a_component_becomes_the_handler(tmp_path: Path) -> None:
    write(
        tmp_path, {"manifest.json": manifest(ui=None, api=ENDPOINTS), "dist/component.wasm": b"1"}
    )
    (tmp_path / "manifest.json").write_bytes(
        b'{"name": "n", "publisher": "p", "version": "1.0.0", "runtime": "wasm-js@1"}'
    )
    tree = collect(tmp_path)
    assert paths(tree) == ["dist/main.wasm", "manifest.json"]
    assert tree.entries[0].source == tmp_path / "dist/component.wasm"


def test_a_built_page_wins(tmp_path: Path) -> None:
    built = {"dist/ui/index.html": b"built", "dist/ui/app.js": b"", "ui/src.js": b""}
    tree = collect(source(tmp_path, built))
    assert paths(tree) == ["manifest.json", "ui/app.js", "ui/index.html"]
    assert tree.entries[2].source == tmp_path / "dist/ui/index.html"


def test_a_build_without_a_page_does_not(tmp_path: Path) -> None:
    tree = collect(source(tmp_path, {"dist/ui/app.js": b"", "ui/src.js": b""}))
    assert paths(tree) == ["manifest.json", "ui/index.html", "ui/src.js"]


def test_junk_is_left_out(tmp_path: Path) -> None:
    junk = ["ui/.DS_Store", "ui/.git/x", "ui/node_modules/a/b.js", "ui/__pycache__/a.js"]
    junk += ["ui/app.js~", "ui/#app.js#", "ui/Thumbs.db", "ui/a/.env", "ui/..a/b.js"]
    root = source(tmp_path, dict.fromkeys([*junk, "ui/app.js.map"], b""))
    (root / "ui/.link").symlink_to("nowhere")
    (root / "ui/a/node_modules").symlink_to("nowhere")
    assert paths(collect(root)) == ["manifest.json", "ui/app.js.map", "ui/index.html"]


def test_the_source_itself_may_be_a_link(tmp_path: Path) -> None:
    source(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    assert paths(collect(tmp_path / "link")) == ["manifest.json", "ui/index.html"]


# -- what is missing ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_no_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert codes(tmp_path / name) == ["source-missing"]


def test_an_empty_directory(tmp_path: Path) -> None:
    assert codes(tmp_path) == ["source-empty", "source-manifest-missing"]


def test_a_page_where_alga_does_not_look(tmp_path: Path) -> None:
    write(tmp_path, {"manifest.json": manifest(), "ui/dist/index.html": PAGE})
    (found,) = diagnostics(tmp_path)
    assert found.code == "source-ui-index"
    assert "only ui/index.html" in found.summary
    assert "dist/ui/ instead of ui/dist/" in found.hint


@pytest.mark.parametrize("files", [{}, {"ui/app.js": b""}])
def test_a_declared_page_without_an_index(tmp_path: Path, files: dict[str, bytes]) -> None:
    described = manifest(api=ENDPOINTS)
    write(tmp_path, {"manifest.json": described, "dist/main.wasm": COMPONENT, **files})
    assert codes(tmp_path) == ["source-ui-index"]


def test_endpoints_without_a_handler(tmp_path: Path) -> None:
    assert codes(source(tmp_path, api=ENDPOINTS)) == ["source-wasm-missing"]


def test_neither_page_nor_handler(tmp_path: Path) -> None:
    text = b'{"name": "n", "publisher": "p", "version": "1.0.0", "runtime": "ui-only@1"}'
    write(tmp_path, {"manifest.json": text, "wit/a.wit": b""})
    assert codes(tmp_path) == ["source-empty"]


# -- what is refused ----------------------------------------------------------------------------


def test_all_diagnostics_come_at_once(tmp_path: Path) -> None:
    root = source(tmp_path, {"ui/bad\\name.js": b"", "ui/A.js": b"", "ui/a.js": b""}, foo=1)
    (root / "ui/link.js").symlink_to("a.js")
    found = codes(root, Limits(file=10))
    assert sorted(found) == [
        "manifest-unknown-key",
        "source-link",
        "source-name",
        "source-name-case",
        "source-too-large",
        "source-too-large",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "ui/a\\b.js",
        "ui/a\nb.js",
        "ui/a\x7f.js",
        "ui/a\x85.js",
        "ui/a..b.js",
        "wit/a..",
    ],
)
def test_names_that_would_be_lost(tmp_path: Path, name: str) -> None:
    assert codes(source(tmp_path, {name: b""})) == ["source-name"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = source(tmp_path)
    Path(os.fsdecode(os.fsencode(root / "ui") + b"/a\xff.js")).touch()
    (found,) = diagnostics(root)
    assert found.code == "source-name"
    assert "a\\xff.js" in found.summary


def test_paths_that_are_too_long(tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 6)
    assert codes(source(tmp_path, {f"ui/{deep}/a.js": b""})) == ["source-name"]


def test_very_deep_directories_are_walked(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 400)
    tree = collect(source(tmp_path, {f"ui/{deep}/a.js": b""}))
    assert f"ui/{deep}/a.js" in paths(tree)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A.js", "a.js"),
        ("\u00e9.js", "e\u0301.js"),
        ("straße.js", "STRASSE.js"),
        ("D/a.js", "d/a.js"),
    ],
)
def test_names_that_some_disks_confuse(tmp_path: Path, one: str, other: str) -> None:
    root = source(tmp_path, {f"ui/{one}": b"", f"ui/{other}": b""})
    if len(list((root / "ui").iterdir())) != 3:
        pytest.skip("this file system is one of them")
    assert codes(root) == ["source-name-case"]


@pytest.mark.parametrize("name", ["ui/a.js", "ui/sub", "wit", "SIGNATURE", "dist/main.wasm"])
@pytest.mark.parametrize("target", ["manifest.json", "nowhere", "/etc/passwd", "/", ".."])
def test_links(tmp_path: Path, name: str, target: str) -> None:
    root = source(tmp_path)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(target)
    (found,) = diagnostics(root)
    assert (found.code, found.file) == ("source-link", str(root / name))


@pytest.mark.parametrize("name", ["manifest.json", "ui"])
def test_links_in_place_of_what_is_needed(tmp_path: Path, name: str) -> None:
    root = source(tmp_path / "root")
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    assert codes(root) == ["source-link"]


def test_a_link_on_the_way(tmp_path: Path) -> None:
    root = source(tmp_path / "root")
    write(tmp_path / "elsewhere", {"ui/index.html": PAGE, "main.wasm": b""})
    (root / "dist").symlink_to(tmp_path / "elsewhere")
    assert [(it.code, it.file) for it in diagnostics(root)] == [("source-link", str(root / "dist"))]


def test_special_files(tmp_path: Path) -> None:
    root = source(tmp_path)
    os.mkfifo(root / "ui/fifo")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/socket")
        Path(f"{short}/socket").rename(root / "SIGNATURE")
        assert codes(root) == ["source-kind", "source-kind"]


def test_files_and_directories_in_each_others_place(tmp_path: Path) -> None:
    root = source(tmp_path, {"sbom.spdx.json/a": b"", "wit": b""})
    assert codes(root) == ["source-kind", "source-kind"]


def test_sizes(tmp_path: Path) -> None:
    root = source(tmp_path, {"ui/a.js": b"x" * 1000, "ui/b.js": b"x" * 999})
    assert codes(root, Limits(file=999)) == ["source-too-large"]
    assert codes(root, Limits(total=2000)) == ["source-too-large"]
    assert codes(root, Limits(entries=3)) == ["source-too-large"]
    collect(root, Limits(file=1000, total=2500, entries=4))


@pytest.mark.parametrize("name", ["manifest.json", "ui/index.html", "ui/Other.HTML"])
def test_text_that_is_not_utf8(tmp_path: Path, name: str) -> None:
    root = source(tmp_path, {name: "<p>\nähm \xe4".encode("latin-1")})
    (found,) = diagnostics(root)
    assert (found.code, found.file) == ("source-encoding", str(root / name))
    assert (found.line, found.column) == (2, 1)
    write(root, {name: "<p>\nähm ".encode() + b"\xff"})
    (found,) = diagnostics(root)
    assert (found.line, found.column) == (2, 5)
    assert "0xff" in found.summary


def test_diagnostics_about_a_manifest_name_its_path(tmp_path: Path) -> None:
    (found,) = diagnostics(source(tmp_path, displayName="x"))
    assert found.file == str(tmp_path / "manifest.json")
    assert (found.code, found.line) == ("manifest-unknown-key", 1)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read anything, so root steps down for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_may_not_be_read(open_directory: Path) -> None:
    root = source(open_directory, {"ui/closed.js": b"", "ui/sub/a.js": b"", "wit/a": b""})
    closed = [root / "ui/closed.js", root / "ui/sub", root / "wit"]
    collect(root)  # imports what is imported late; another user might not be able to
    for path in closed:
        path.chmod(0)
    try:
        with without_privileges():
            found = diagnostics(root)
    finally:
        for path in closed:
            path.chmod(0o755)
    assert sorted((it.code, it.file) for it in found) == [
        ("source-unreadable", str(path)) for path in closed
    ]


# -- what is warned of --------------------------------------------------------------------------


def test_files_that_are_not_served(tmp_path: Path) -> None:
    names = ["favicon.ico", "b/y.TS", "a/x.ts", "noext", "trailing.", "v1.2/app.JS"]
    tree = collect(source(tmp_path, {f"ui/{name}": b"" for name in names} | {"wit/a.wit": b""}))
    assert [(it.code, it.file, it.severity) for it in tree.warnings] == [
        ("source-unserved", str(tmp_path / "ui" / name), "warning")
        for name in ["a/x.ts", "favicon.ico", "trailing."]
    ]
    assert "2 files ending in .ts" in tree.warnings[0].summary


def test_warnings_of_pages_and_of_the_manifest(tmp_path: Path) -> None:
    page = b"<!doctype html>\n<body onload='x()'>"
    root = source(tmp_path, {"ui/sub/page.html": page}, capabilities=["nonsense"])
    assert [(it.code, it.file, it.line, it.column) for it in collect(root).warnings] == [
        ("manifest-capability-unknown", str(tmp_path / "manifest.json"), 1, 167),
        ("source-csp", str(tmp_path / "ui/sub/page.html"), 2, 1),
    ]


# -- what a page refers to, and what is left out -------------------------------------------------


def warned(root: Path) -> list[tuple[str, str]]:
    return [(it.code, it.hint) for it in collect(root).warnings]


@pytest.mark.parametrize(
    ("scripts", "name"),
    [
        ({"test": "x", "build": "vite build"}, "build"),
        ({"build": "tsc", "ui": "esbuild src/app.ts --outfile=ui/app.js"}, "ui"),
        ({"dev": "x", "page": "esbuild src/app.tsx"}, "page"),
        ({"build:handler": "x", "build:ui": "y"}, "build:ui"),
    ],
)
def test_a_script_that_was_never_built_names_what_would_build_it(
    tmp_path: Path, scripts: dict[str, str], name: str
) -> None:
    page = b'<!doctype html>\n<script src="app.js"></script>'
    files = {"ui/index.html": page, "package.json": json.dumps({"scripts": scripts}).encode()}
    (found,) = collect(source(tmp_path, files)).warnings
    assert (found.code, found.line, found.column) == ("source-reference", 2, 1)
    assert found.file.endswith("ui/index.html")
    assert "there is no ui/app.js" in found.summary
    assert f"`npm run {name}`" in found.hint


@pytest.mark.parametrize("text", [b"", b"[]", b'{"scripts": 1}', b"\xff", b'{"scripts": {}}'])
def test_without_a_script_the_hint_names_none(tmp_path: Path, text: bytes) -> None:
    page = b'<script src="app.js"></script>'
    root = source(tmp_path, {"ui/index.html": page, "package.json": text})
    hint = "add the file, build it, or correct the reference"
    assert warned(root) == [("source-reference", hint)]


def test_another_spelling_is_named(tmp_path: Path) -> None:
    root = source(tmp_path, {"ui/index.html": b'<script src="app.js"></script>', "ui/App.js": b""})
    assert warned(root) == [("source-reference", "it is spelled ui/App.js")]


def test_hidden_names_that_are_left_out_are_told(tmp_path: Path) -> None:
    page = b'<script src=".assets/app.js"></script>'
    root = source(tmp_path, {"ui/index.html": page, "ui/.assets/app.js": b"", "ui/x/.env": b""})
    write(tmp_path, {f"ui/{it}": b"" for it in ("._a", ".DS_Store", ".gitkeep", ".a.js~")})
    tree = collect(root)
    assert paths(tree) == ["manifest.json", "ui/index.html"]
    assert [(it.code, it.file.removeprefix(f"{root}/")) for it in tree.warnings] == [
        ("source-hidden", "ui/.assets"),
        ("source-reference", "ui/index.html"),
        ("source-hidden", "ui/x/.env"),
    ]
    assert "hidden names are left out" in tree.warnings[1].hint


def test_a_handler_without_endpoints_is_told(tmp_path: Path) -> None:
    root = source(tmp_path, {"dist/main.wasm": COMPONENT})
    assert [code for code, _ in warned(root)] == ["source-handler-unreachable"]


def test_a_manifest_above_1_mib_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = source(tmp_path, {})
    with (root / "manifest.json").open("r+b") as file:
        file.truncate(1024 * 1024 + 1)
    genuine = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        assert path.name != "manifest.json"
        return genuine(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    (diagnostic,) = diagnostics(root)
    assert (diagnostic.code, diagnostic.line, diagnostic.column) == ("manifest-too-large", 1, 1)
