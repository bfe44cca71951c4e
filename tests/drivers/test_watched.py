from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.drivers.build.watched import Watched, watched_paths
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.problem import Where

WHERE = Where("algaenv.yaml", 7, 13)


def watched(
    source: Path, *steps: BuildStep, workspace: Path | None = None, build: bool = True
) -> Watched:
    made = BuildIntent(steps, str(workspace or source), {}, 60.0)
    return watched_paths(
        ExtensionIntent(
            "hello", str(source), made if build else None, {}, {}, None, True, None, WHERE
        )
    )


def step(
    inputs: Sequence[str] = (), outputs: Sequence[str] = (), ignore: Sequence[str] = ()
) -> BuildStep:
    return BuildStep(
        "build", ("make",), True, {}, 60.0, tuple(inputs), tuple(outputs), tuple(ignore)
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "packages/hello"
    made.mkdir(parents=True)
    return made


def test_without_a_build_the_files_of_the_bundle_count(source: Path) -> None:
    found = watched(source, build=False)
    assert found.roots == (source,)
    for name in (
        "manifest.json",
        "ui/index.html",
        "ui/README.md",
        "dist/main.wasm",
        "dist/ui/a.js",
    ):
        assert found.counts(source / name), name
    for name in ("src/a.ts", "algaenv.yaml", "README.md", "ui/.index.html.swp", "dist/x.wasm"):
        assert not found.counts(source / name), name
    assert not found.counts(source.parent / "other/manifest.json")


def test_a_command_without_inputs_reads_everything(source: Path) -> None:
    found = watched(source, step())
    for name in ("src/a.ts", "package.json", "any/thing"):
        assert found.counts(source / name), name
    for name in (
        "node_modules/left-pad/index.js",
        "src/node_modules/x.js",
        ".git/index",
        ".algaenv/1/build/hello/tree/a.ts",
        "src/.a.ts.swp",
        "src/a.ts~",
        "src/4913",
        "src/.#a.ts",
        "src/a.ts___jb_tmp___",
        ".DS_Store",
        "README.md",
        "algaenv.local.yaml",
    ):
        assert not found.counts(source / name), name


def test_everything_counts_while_nothing_tells_how_it_is_built(source: Path) -> None:
    found = watched(source)
    for name in ("package.json", "Cargo.toml", "src/handler.ts", "app.py", "component/go.mod"):
        assert found.counts(source / name), name
    for name in ("node_modules/a/package.json", ".git/HEAD", "algaenv.yaml", "src/.a.ts.swp"):
        assert not found.counts(source / name), name


def test_outputs_and_what_is_ignored_do_not_count(source: Path) -> None:
    found = watched(source, step(outputs=["dist"], ignore=["notes/**", "*.log"]))
    assert found.counts(source / "src/a.ts")
    for name in ("dist/main.wasm", "dist/ui/index.html", "notes/a/b.md", "make.log"):
        assert not found.counts(source / name), name
    assert found.counts(source / "src/make.log")


def test_only_inputs_and_the_bundle_count(source: Path) -> None:
    steps = (
        step(["packages/hello/src/**/*.ts", "packages/shared"], ["packages/hello/dist/main.wasm"]),
        step(["packages/hello/web/*.html"], ["packages/hello/dist/ui"], ["packages/*/web/x.html"]),
    )
    workspace = source.parents[1]
    found = watched(source, *steps, workspace=workspace)
    assert found.roots == (workspace,)
    for name in ("hello/src/a.ts", "hello/src/b/c.ts", "shared/any/x", "hello/ui/index.html"):
        assert found.counts(str(workspace / "packages" / name)), name
    for name in ("hello/src/a.js", "other/a.ts", "hello/web/x.html", "hello/dist/main.wasm"):
        assert not found.counts(workspace / "packages" / name), name


def test_files_that_a_tool_always_reads_count(source: Path) -> None:
    reads_src = replace(step(["packages/hello/src"]), command=("npm run build",))
    found = watched(source, reads_src, workspace=source.parents[1])
    for name in ("package-lock.json", "packages/hello/package.json"):
        assert found.counts(source.parents[1] / name), name
    assert not found.counts(source.parents[1] / "packages/other/package.json")
    assert not found.counts(source / "Cargo.lock")


def test_caches_do_not_count(source: Path) -> None:
    (source / "target/debug").mkdir(parents=True)
    (source / "target/CACHEDIR.TAG").write_text("")
    (source / "env").mkdir()
    (source / "env/pyvenv.cfg").write_text("")
    found = watched(source, step())
    assert not found.counts(source / "target/debug/app")
    assert not found.counts(source / "env/lib/x.py")
    assert found.counts(source / "src/gone/a.ts")


def test_a_source_behind_a_link(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(source)
    found = watched(link, step())
    assert found.roots == (source,)
    assert found.counts(link / "src/a.ts")
    assert found.counts(source / "src/a.ts")


def test_directories_of_tools_are_not_entered(source: Path) -> None:
    found = watched(source, step(outputs=["dist/ui", "out/**"]))
    for name in ("", "ui", "ui/deep", "src", "not/there", "dist"):
        assert found.enters(source / name), name
    for name in ("node_modules", "node_modules/x", ".git", ".algaenv", "dist/ui", "out/a"):
        assert not found.enters(source / name), name
    assert not found.enters(source.parent)
