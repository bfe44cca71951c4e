"""Large components are compiled twice: the quick code answers until the optimised code is there."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compiled import (
    CompiledComponents,
    CompileEnded,
    CompileEvent,
    GuestLoaded,
    Replaced,
)
from algaenv.runner.components.compiler import CompileLimits
from algaenv.runner.components.loaded import LoadedComponents
from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.failure import FailureKind
from algaenv.runner.wasm.guest import Guest, GuestLoader
from tests.guests import built
from tests.runner.wasm.stage import MEMORY, invocation, request, table

from .components import kept, large

EVERY = CompileLimits(quick_from_bytes=0)
DEADLINE_SECONDS = 60.0


class Cache:
    """Guests of the script, by way of a cache directory."""

    def __init__(self, root: Path, guests: GuestLoader, limits: CompileLimits = EVERY) -> None:
        self.told: list[CompileEvent] = []
        self.compiled = CompiledComponents(root, limits, on_event=self.told.append)
        self.loaded = LoadedComponents(guests, self.compiled, on_event=self.told.append)

    @property
    def tiers(self) -> list[CompileTier]:
        ended = (event for event in self.told if isinstance(event, CompileEnded))
        return [event.tier for event in ended if event.failure is None]

    @property
    def loads(self) -> int:
        return sum(isinstance(event, GuestLoaded) for event in self.told)

    async def swapped(self, bundle: Digest, quick: Guest) -> Guest:
        await until(lambda: self.loaded.get(bundle) is not quick)
        guest = self.loaded.get(bundle)
        assert guest is not None
        return guest


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
def guests() -> Iterator[GuestLoader]:
    made = GuestLoader(table(), 2)
    yield made
    made.close()


@pytest.fixture
def script(tmp_path: Path) -> tuple[Digest, Path]:
    return kept(tmp_path / "bundles", built("script").read_bytes())


def call(guest: Guest, **body: object) -> int:
    given = request(json.dumps(body).encode())
    called = invocation(seconds=DEADLINE_SECONDS)
    return int(guest.call(called, given, memory_bytes=MEMORY)["status"])


def test_quick_code_answers_until_the_optimised_code_is_there(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path]
) -> None:
    cache = Cache(tmp_path, guests)
    bundle, wasm = script

    async def work() -> None:
        quick = await cache.loaded.guest(bundle, wasm)
        assert cache.tiers == [CompileTier.QUICK]
        assert call(quick) == 200
        swapped = await cache.swapped(bundle, quick)
        assert call(swapped) == 200
        assert await cache.loaded.guest(bundle, wasm) is swapped

    asyncio.run(work())
    assert cache.tiers == [CompileTier.QUICK, CompileTier.OPTIMISED]
    assert (cache.loads, len(cache.loaded)) == (2, 1)
    assert len(list((tmp_path / ".algaenv" / "compiled").glob("*.cwasm"))) == 2


def test_a_call_under_way_ends_with_the_code_it_began_with(
    tmp_path: Path, script: tuple[Digest, Path]
) -> None:
    under_way, may_end = threading.Event(), threading.Event()

    def list_keys(_: object) -> list[str]:
        under_way.set()
        assert may_end.wait(DEADLINE_SECONDS)
        return []

    guests = GuestLoader(table(secrets__list_keys=list_keys), 2)
    cache = Cache(tmp_path, guests)
    bundle, wasm = script

    async def work() -> None:
        quick = await cache.loaded.guest(bundle, wasm)
        begun = asyncio.create_task(
            asyncio.to_thread(call, quick, calls=[{"fn": "secrets.list-keys", "args": []}])
        )
        assert await asyncio.to_thread(under_way.wait, DEADLINE_SECONDS)
        swapped = await cache.swapped(bundle, quick)
        del quick
        assert call(swapped) == 200
        assert not begun.done()
        may_end.set()
        assert await begun == 200

    try:
        asyncio.run(work())
    finally:
        may_end.set()
        guests.close()


def test_where_optimised_code_is_there_no_quick_code_is_made(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path]
) -> None:
    once = Cache(tmp_path, guests, CompileLimits(quick_from_bytes=0, tiers=1))
    asyncio.run(once.loaded.guest(*script))
    assert once.tiers == [CompileTier.OPTIMISED]
    again = Cache(tmp_path, guests)
    asyncio.run(again.loaded.guest(*script))
    assert (again.tiers, again.loads) == ([], 1)


def test_quick_code_that_is_there_is_optimised_by_the_next_process(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path]
) -> None:
    first, second = Cache(tmp_path, guests), Cache(tmp_path, guests)

    async def work() -> None:
        await first.compiled.ensure(*script)
        quick = await second.loaded.guest(*script)
        await second.swapped(script[0], quick)

    asyncio.run(work())
    assert (first.tiers, second.tiers) == ([CompileTier.QUICK], [CompileTier.OPTIMISED])


def test_two_processes_optimise_once(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path]
) -> None:
    caches = Cache(tmp_path, guests), Cache(tmp_path, guests)

    async def work() -> None:
        quick = [await cache.loaded.guest(*script) for cache in caches]
        for cache, guest in zip(caches, quick, strict=True):
            await cache.swapped(script[0], guest)

    asyncio.run(work())
    assert [*caches[0].tiers, *caches[1].tiers] == [CompileTier.QUICK, CompileTier.OPTIMISED]


@pytest.mark.parametrize(
    "limits", [CompileLimits(), CompileLimits(quick_from_bytes=0, tiers=1)], ids=["small", "off"]
)
def test_optimised_at_once(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path], limits: CompileLimits
) -> None:
    cache = Cache(tmp_path, guests, limits)
    asyncio.run(cache.loaded.guest(*script))
    assert cache.tiers == [CompileTier.OPTIMISED]


def test_what_cannot_be_optimised_goes_on_answering(
    tmp_path: Path,
    guests: GuestLoader,
    script: tuple[Digest, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = Cache(tmp_path, guests)
    bundle, wasm = script

    async def work() -> None:
        await cache.compiled.ensure(bundle, wasm)
        wasm.unlink()
        with caplog.at_level(logging.WARNING):
            quick = await cache.loaded.guest(bundle, wasm)
            await until(lambda: any(it.message == "not optimised" for it in caplog.records))
        assert cache.loaded.get(bundle) is quick
        assert call(quick) == 200

    asyncio.run(work())


def test_what_was_replaced_is_not_optimised(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path]
) -> None:
    cache = Cache(tmp_path, guests)
    old, new = script, kept(tmp_path / "bundles", built("script").read_bytes() + b"\0\2\1x")

    async def work() -> None:
        for bundle, wasm in (old, new):
            await cache.compiled.ensure(bundle, wasm)
            cache.compiled.set_current("tenant/extension", bundle)
        component = Digest.of_file(old[1])
        with pytest.raises(Replaced):
            await cache.compiled.optimise(component, old[1])
        quick = await cache.loaded.guest(*new)
        await cache.swapped(new[0], quick)
        # It is the extension's again.
        cache.compiled.set_current("tenant/extension", old[0])
        await cache.compiled.optimise(component, old[1])

    asyncio.run(work())
    assert cache.tiers == [
        CompileTier.QUICK,
        CompileTier.QUICK,
        CompileTier.OPTIMISED,
        CompileTier.OPTIMISED,
    ]


def test_what_another_extension_has_is_optimised(
    tmp_path: Path, guests: GuestLoader, script: tuple[Digest, Path]
) -> None:
    cache = Cache(tmp_path, guests)
    new = kept(tmp_path / "bundles", built("script").read_bytes() + b"\0\2\1x")

    async def work() -> None:
        for bundle, wasm in (script, new):
            await cache.compiled.ensure(bundle, wasm)
        cache.compiled.set_current("tenant/other", script[0])
        cache.compiled.set_current("tenant/extension", script[0])
        cache.compiled.set_current("tenant/extension", new[0])
        await cache.compiled.optimise(Digest.of_file(script[1]), script[1])

    asyncio.run(work())


def test_optimising_keeps_its_limits_and_comes_last(tmp_path: Path) -> None:
    told: list[CompileEvent] = []
    _, wasm = kept(tmp_path, large(functions=1, steps=6000))
    limits = CompileLimits(quick_from_bytes=0, cpu_seconds=1)
    compiled = CompiledComponents(tmp_path, limits, on_event=told.append)
    nice: set[int] = set()

    async def work() -> None:
        component = Digest.of_file(wasm)
        task = asyncio.create_task(compiled.optimise(component, wasm))
        while not task.done():
            for child in psutil.Process().children():
                try:
                    nice.add(child.nice())
                except psutil.Error:
                    continue
            await asyncio.sleep(0.01)
        assert "RUNNER_COMPILE_CPU_SECONDS" in str(task.exception())

    asyncio.run(work())
    [ended] = (event for event in told if isinstance(event, CompileEnded))
    assert (ended.failure, ended.tier) == (FailureKind.LIMIT, CompileTier.OPTIMISED)
    assert 19 in nice
