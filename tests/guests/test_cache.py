"""The cache of guests: one build however many ask, nothing half done, and skips that say why."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import tools
from .cache import BuildCache
from .recipe import Prebuilt
from .recipes import RECIPES


def test_many_who_ask_at_once_share_one_build(tmp_path: Path) -> None:
    build_cache, builds = BuildCache(tmp_path), []
    together = threading.Barrier(4)

    def make(into: Path) -> None:
        builds.append(into)
        (into / "made").write_text("whole")

    def ask() -> str:
        together.wait(10)
        return (build_cache.once("key", make) / "made").read_text()

    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(ask) for _ in range(4)]
        assert [one.result() for one in found] == ["whole"] * 4
    assert len(builds) == 1


def test_a_build_that_fails_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    build_cache = BuildCache(tmp_path)

    def fail(into: Path) -> None:
        (into / "half").touch()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        build_cache.once("key", fail)
    assert [left.name for left in tmp_path.iterdir()] == ["key.lock"]
    assert build_cache.once("key", lambda into: (into / "made").touch()) == tmp_path / "key"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_guest_is_named_by_all_it_is_made_from(name: str) -> None:
    recipe = RECIPES[name]
    assert len(set(recipe.sources)) == len(recipe.sources)
    assert all(source.is_file() for source in recipe.sources)
    assert len({other.ingredients() for other in RECIPES.values()}) == len(RECIPES)


def test_a_tool_that_is_missing_skips_the_test_that_needs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools.version.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="node is not on PATH"):
        RECIPES["everything-js"].digest()
    monkeypatch.undo()
    tools.version.cache_clear()


def test_a_committed_guest_counts_only_for_the_sources_it_was_made_from(tmp_path: Path) -> None:
    prebuilt = Prebuilt(tmp_path / "prebuilt/x.wasm")
    assert not prebuilt.current("a")
    (tmp_path / "built").write_bytes(b"wasm")
    prebuilt.keep(tmp_path / "built", "a")
    assert prebuilt.file.read_bytes() == b"wasm"
    assert prebuilt.current("a")
    assert not prebuilt.current("b")
