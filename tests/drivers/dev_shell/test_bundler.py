"""Handlers become one text, with the places of their authors."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from algaenv.drivers.dev_shell import HandlerBundler
from algaenv.model.problem import Problem, ResolveError
from tests.guests import ToolMissing, tools
from tests.guests.cache import BuildCache

# Tests get a cache home of their own; esbuild is installed once for all of them.
CACHE = BuildCache.of_this_machine().root / "esbuild"

HANDLER = """import { logInfo } from "alga:extension/logging";
import { answer } from "./answer";

export function handler(request: { http: { url: string } }) {
  logInfo(request.http.url);
  return answer(200);
}
"""
ANSWER = "export const answer = (status: number) => ({ status, headers: [], body: undefined });\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "src/handler.ts").write_text(HANDLER)
    (tmp_path / "src/answer.ts").write_text(ANSWER)
    return tmp_path


@pytest.fixture(scope="module")
def bundler() -> Iterator[HandlerBundler]:
    try:
        tools.node()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with HandlerBundler(CACHE) as made:
        yield made


def problems(bundler: HandlerBundler, entry: Path) -> tuple[Problem, ...]:
    with pytest.raises(ResolveError) as caught:
        bundler.bundle(entry)
    return caught.value.problems


def test_it_bundles(bundler: HandlerBundler, project: Path) -> None:
    bundled = bundler.bundle(project / "src/handler.ts")
    assert b'require("alga:extension/logging")' in bundled.text
    assert set(bundled.inputs) == {project / "src/handler.ts", project / "src/answer.ts"}
    source_map = json.loads(bundled.source_map)
    assert sorted(source_map["sources"]) == ["../src/answer.ts", "../src/handler.ts"]
    assert ANSWER in source_map["sourcesContent"]


def test_packages_may_be_installed_elsewhere(
    bundler: HandlerBundler, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    entry = project / "src/handler.ts"
    entry.write_text('export { words } from "words";\nexport const handler = 1;\n')
    assert "Could not resolve" in problems(bundler, entry)[0].summary
    packages = tmp_path_factory.mktemp("elsewhere") / "node_modules"
    (packages / "words").mkdir(parents=True)
    (packages / "words/index.js").write_text("export const words = 'from elsewhere';\n")
    assert b"from elsewhere" in bundler.bundle(entry, [packages]).text
    (project / "node_modules/words").mkdir(parents=True)
    (project / "node_modules/words/index.js").write_text("export const words = 'own';\n")
    assert b"own" in bundler.bundle(entry, [packages]).text


def test_an_edit_counts(bundler: HandlerBundler, project: Path) -> None:
    entry = project / "src/handler.ts"
    first = bundler.bundle(entry)
    (project / "src/answer.ts").write_text(ANSWER.replace("status,", "status: 299,"))
    assert b"299" in bundler.bundle(entry).text
    (project / "src/answer.ts").write_text(ANSWER)
    assert bundler.bundle(entry) == first


def test_each_error_has_its_place(bundler: HandlerBundler, project: Path) -> None:
    entry = project / "src/handler.ts"
    (project / "src/answer.ts").write_text(
        'import "./gone";\nimport "gone-too";\nexport const a = 1;\n'
    )
    gone, too = problems(bundler, entry)
    assert gone.where is not None
    assert (Path(gone.where.file), gone.where.line, gone.where.column) == (
        project / "src/answer.ts",
        1,
        8,
    )
    assert (gone.code, too.code) == ("handler-bundle", "handler-bundle")
    assert 'Could not resolve "./gone"' in gone.summary
    assert 'Could not resolve "gone-too"' in too.summary
    assert gone.detail[0] == 'import "./gone";'
    (project / "src/answer.ts").write_text("export const answer = (\n")
    (syntax,) = problems(bundler, entry)
    assert "Unexpected end of file" in syntax.summary
    (project / "src/answer.ts").write_text(ANSWER)
    assert bundler.bundle(entry).text


def test_await_outside_of_functions_is_refused(bundler: HandlerBundler, project: Path) -> None:
    entry = project / "src/handler.ts"
    entry.write_text("const later = await 1;\nexport const handler = () => later;\n")
    (problem,) = problems(bundler, entry)
    assert problem.where is not None
    assert problem.where.line == 1
    assert "Top-level await" in problem.summary


def test_an_entry_that_is_not_there(bundler: HandlerBundler, project: Path) -> None:
    (problem,) = problems(bundler, project / "src/other.ts")
    assert "other.ts" in problem.summary


def test_one_that_died_is_replaced(bundler: HandlerBundler, project: Path) -> None:
    bundler.bundle(project / "src/handler.ts")
    for child in node_processes():
        child.kill()
        child.wait()
    assert bundler.bundle(project / "src/handler.ts").text


@pytest.mark.slow
def test_one_that_hangs_is_ended(project: Path) -> None:
    with HandlerBundler(CACHE, seconds=6.0) as bundler:
        bundler.bundle(project / "src/handler.ts")
        (child,) = node_processes(without=frozenset())[-1:]
        os.kill(child.pid, signal.SIGSTOP)
        (problem,) = problems(bundler, project / "src/handler.ts")
        assert problem.code == "bundler-broken"
        assert "within 6 s" in problem.summary
        assert bundler.bundle(project / "src/handler.ts").text


def test_nothing_is_left_running(bundler: HandlerBundler, project: Path) -> None:
    before = node_processes()
    with HandlerBundler(CACHE) as made:
        made.bundle(project / "src/handler.ts")
        children = [it for it in node_processes() if it not in before]
        descendants = [
            *children,
            *(it for child in children for it in child.children(recursive=True)),
        ]
        assert children
    psutil.wait_procs(descendants, timeout=10)
    assert not any(it.is_running() for it in descendants)


def test_without_node(project: Path, tmp_path: Path) -> None:
    with HandlerBundler(CACHE, environ={"PATH": str(tmp_path)}) as bundler:
        (problem,) = problems(bundler, project / "src/handler.ts")
    assert problem.code == "bundler-missing"
    assert "node is not on PATH" in problem.summary


def test_what_cannot_be_installed(bundler: HandlerBundler, project: Path, tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_cache": str(tmp_path / "npm"),
        "npm_config_fetch_retries": "0",
    }
    with HandlerBundler(tmp_path / "cache", environ=environ) as offline:
        (problem,) = problems(offline, project / "src/handler.ts")
    assert problem.code == "bundler-install"
    assert problem.detail
    assert [it.name for it in (tmp_path / "cache").iterdir() if it.is_dir()] == []


def node_processes(without: frozenset[int] = frozenset()) -> list[psutil.Process]:
    """The bundlers of this process, the last one started at the end."""
    found = [
        child
        for child in psutil.Process().children()
        if any(word.endswith("bundler.mjs") for word in child.cmdline())
    ]
    return sorted((it for it in found if it.pid not in without), key=lambda it: it.create_time())
