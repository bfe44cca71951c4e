"""A component is compiled once, by the first caller, and never stored when it failed."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compiled import (
    CompiledComponents,
    CompileEnded,
    CompileEvent,
    FilesEvicted,
)
from algaenv.runner.components.compiler import CompileLimits
from algaenv.runner.wasm.failure import FailureKind, GuestFailure

from .compile_requests import compile_process
from .components import CORE_MODULE, ill_typed, kept, large, small

T = TypeVar("T")

MALFORMED = "failed to parse WebAssembly module"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def compiles(told: list[CompileEvent]) -> list[CompileEnded]:
    return [event for event in told if isinstance(event, CompileEnded)]


def loads(file: Path) -> bool:
    import wasmtime
    from wasmtime.component import Component

    from algaenv.runner.wasm.engine_config import Pool, config

    pool = Pool.of(1)
    for made in (config(), config(pool=pool)):
        Component.deserialize_file(wasmtime.Engine(made), str(file))
    return True


def leftovers(root: Path) -> list[Path]:
    inside = root / ".algaenv" / "compiled"
    return [*(inside / "tmp").iterdir(), *(inside / "queue").glob("ticket.*")]


def test_a_component_is_compiled_once(tmp_path: Path) -> None:
    told: list[CompileEvent] = []
    content = small()
    bundle, wasm = kept(tmp_path, content)

    async def work() -> Path:
        compiled = CompiledComponents(tmp_path, on_event=told.append)
        files = await asyncio.gather(*(compiled.ensure(bundle, wasm) for _ in range(10)))
        assert len(set(files)) == 1
        return await compiled.ensure(bundle, wasm)

    file = run(work())
    assert loads(file)
    [ended] = compiles(told)
    assert (ended.failure, ended.component) == (None, Digest.of(content))
    assert ended.size == file.stat().st_size
    assert ended.cpu_seconds > 0
    assert ended.peak_bytes > 1 << 20
    assert run(CompiledComponents(tmp_path, on_event=told.append).ensure(bundle, wasm)) == file
    assert len(compiles(told)) == 1
    assert leftovers(tmp_path) == []


def test_only_the_owner_may_read_and_write(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = run(CompiledComponents(tmp_path).ensure(*kept(tmp_path, small())))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    folder = tmp_path / ".algaenv"
    made = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
    assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o700}


def test_bundles_with_the_same_component_share_it(tmp_path: Path) -> None:
    told: list[CompileEvent] = []
    _, wasm = kept(tmp_path, small())

    async def work() -> None:
        compiled = CompiledComponents(tmp_path, on_event=told.append)
        files = await asyncio.gather(
            *(compiled.ensure(Digest.of(bytes([n])), wasm) for n in range(5))
        )
        assert len(set(files)) == 1

    run(work())
    assert len(compiles(told)) == 1


def test_a_known_component_is_not_read_again(tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path, small())
    file = run(CompiledComponents(tmp_path).ensure(bundle, wasm))
    wasm.unlink()
    assert run(CompiledComponents(tmp_path).ensure(bundle, wasm)) == file


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (b"\0asm", "the file is not a binary component"),
        (b"(component)", "the file is not a binary component"),
        (b"(module)", "the file is not a binary component"),
        (os.urandom(4096), "the file is not a binary component"),
        (CORE_MODULE, "attempted to parse a wasm module with a component parser"),
        (small()[:-5], "unexpected end"),
        (small()[:8] + b"\xff" * 64, "at offset 0x"),
    ],
    ids=["empty", "4 bytes", "component text", "module text", "noise", "core", "cut", "junk"],
)
def test_what_is_no_component(tmp_path: Path, content: bytes, cause: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(CompiledComponents(tmp_path).ensure(*kept(tmp_path, content)))
    failure = caught.value
    assert (failure.kind, failure.message) == (FailureKind.MALFORMED, MALFORMED)
    assert failure.causes[0] == MALFORMED
    assert cause in failure.reason
    assert failure.reason == failure.causes[-1]


def test_a_component_that_is_not_valid(tmp_path: Path) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(CompiledComponents(tmp_path).ensure(*kept(tmp_path, ill_typed())))
    failure = caught.value
    assert (failure.kind, failure.message) == (
        FailureKind.COMPILE,
        "failed to compile: wasm[0]::function[0]",
    )
    assert failure.causes[1] == "WebAssembly translation error"
    assert "type mismatch: expected i32, found i64" in failure.reason


def test_a_refusal_is_shared_and_remembered_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from algaenv.runner.components import compiled as module

    told: list[CompileEvent] = []
    bundle, wasm = kept(tmp_path, ill_typed())

    async def work() -> None:
        compiled = CompiledComponents(tmp_path, on_event=told.append)
        ten = (compiled.ensure(bundle, wasm) for _ in range(10))
        outcomes = await asyncio.gather(*ten, return_exceptions=True)
        assert all(isinstance(each, GuestFailure) for each in outcomes)
        with pytest.raises(GuestFailure, match="failed to compile"):
            await compiled.ensure(bundle, wasm)
        assert [each.failure for each in compiles(told)] == [FailureKind.COMPILE]

        monkeypatch.setattr(module, "REFUSAL_SECONDS", -1.0)
        other = CompiledComponents(tmp_path, on_event=told.append)
        for _ in range(2):
            with pytest.raises(GuestFailure):
                await other.ensure(bundle, wasm)
        assert len(compiles(told)) == 3

    run(work())
    assert list((tmp_path / ".algaenv" / "compiled").glob("*.cwasm")) == []
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_limit_that_was_met_is_noted_for_all_until_it_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from algaenv.runner.components import compiled as module

    monkeypatch.setattr(module, "REFUSAL_SECONDS", -1.0)
    told: list[CompileEvent] = []
    bundle, wasm = kept(tmp_path, large(functions=1, steps=6000))

    async def meets(limits: CompileLimits) -> GuestFailure:
        with pytest.raises(GuestFailure) as caught:
            await CompiledComponents(tmp_path, limits, on_event=told.append).ensure(bundle, wasm)
        assert caught.value.kind is FailureKind.LIMIT
        return caught.value

    low = CompileLimits(cpu_seconds=1)
    first = run(meets(low))
    assert "(RUNNER_COMPILE_CPU_SECONDS)" in first.reason
    assert [run(meets(low)).reason for _ in range(3)] == [first.reason] * 3
    assert len(compiles(told)) == 1
    run(CompiledComponents(tmp_path, CompileLimits(), on_event=told.append).ensure(bundle, wasm))
    assert [it.failure for it in compiles(told)] == [FailureKind.LIMIT, None]
    run(CompiledComponents(tmp_path, low).ensure(bundle, wasm))


def test_a_component_that_cannot_be_read(tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path, small())
    wasm.unlink()
    with pytest.raises(FileNotFoundError):
        run(CompiledComponents(tmp_path).ensure(bundle, wasm))
    wasm.mkdir()
    with pytest.raises(IsADirectoryError):
        run(CompiledComponents(tmp_path).ensure(bundle, wasm))


def test_another_component_than_was_noted(tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path, small(1))
    file = run(CompiledComponents(tmp_path).ensure(bundle, wasm))
    file.unlink()
    wasm.write_bytes(small(2))
    compiled = CompiledComponents(tmp_path)
    with pytest.raises(GuestFailure, match="changed while it was compiled") as caught:
        run(compiled.ensure(bundle, wasm))
    assert caught.value.kind is FailureKind.HOST
    assert not file.exists()
    assert run(CompiledComponents(tmp_path).ensure(bundle, wasm)) != file


@pytest.mark.slow
def test_two_processes_compile_once(tmp_path: Path) -> None:
    _, wasm = kept(tmp_path, large(functions=1, steps=3000))
    with (
        compile_process(tmp_path, wasm, at_once=2) as one,
        compile_process(tmp_path, wasm, at_once=2) as two,
    ):
        one.go()
        two.go()
        text = one.rest() + two.rest()
    assert (
        sorted(each["what"] for each in text)
        == ["compile_process"] * 2 + ["compiled"] + ["have"] * 2
    )
    assert len({each["path"] for each in text if each["what"] == "have"}) == 1


@pytest.mark.slow
def test_as_many_at_a_time_as_there_are_slots(tmp_path: Path) -> None:
    files = [kept(tmp_path, large(functions=1, steps=1500 + n))[1] for n in range(4)]
    with compile_process(tmp_path, *files[:2]) as one, compile_process(tmp_path, *files[2:]) as two:
        began = time.monotonic()
        one.go()
        two.go()
        text = one.rest() + two.rest()
        took = time.monotonic() - began
    ended = [each for each in text if each["what"] == "compiled"]
    assert [each["failure"] for each in ended] == [None] * 4
    assert sum(each["seconds"] for each in ended) < took
    assert max(each["queued"] for each in ended) > min(each["seconds"] for each in ended)


@pytest.mark.slow
def test_a_process_that_dies_while_it_compiles(tmp_path: Path) -> None:
    _, wasm = kept(tmp_path, large(functions=1, steps=6000))
    with compile_process(tmp_path, wasm) as one, compile_process(tmp_path, wasm) as two:
        one.go()
        assert one.line()["what"] == "compile_process"
        until = time.monotonic() + 20
        while not list((tmp_path / ".algaenv" / "compiled" / "tmp").glob("*")):
            assert time.monotonic() < until
            time.sleep(0.01)
        two.go()
        assert two.line()["what"] == "compile_process"
        one.process.kill()
        assert [each["what"] for each in two.rest()] == ["compiled", "have"]


def test_the_compile_goes_on_when_those_who_waited_leave(tmp_path: Path) -> None:
    told: list[CompileEvent] = []
    bundle, wasm = kept(tmp_path, small())

    async def work() -> None:
        compiled = CompiledComponents(tmp_path, on_event=told.append)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(compiled.ensure(bundle, wasm), 0)
        leaving = asyncio.create_task(compiled.ensure(bundle, wasm))
        await asyncio.sleep(0)
        leaving.cancel()
        until = time.monotonic() + 20
        while not told:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    run(work())
    assert [each.failure for each in compiles(told)] == [None]


def test_a_service_that_stops_does_not_wait_for_a_compile(tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path, large(functions=4, steps=20_000))
    limits = CompileLimits(seconds=300)

    async def work() -> None:
        compiled = CompiledComponents(tmp_path, limits)
        asyncio.create_task(compiled.ensure(bundle, wasm))  # noqa: RUF006 - asyncio.run ends it
        while not list((tmp_path / ".algaenv" / "compiled").glob("tmp/*")):
            await asyncio.sleep(0.01)

    began = time.monotonic()
    run(work())
    # Alone it would take a minute.
    assert time.monotonic() - began < 20
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_the_event_loop_goes_on(tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path, large(functions=1))

    async def work() -> float:
        compiled = CompiledComponents(tmp_path)
        ensuring = asyncio.create_task(compiled.ensure(bundle, wasm))
        worst = 0.0
        while not ensuring.done():
            asked = time.monotonic()
            await asyncio.sleep(0.005)
            worst = max(worst, time.monotonic() - asked)
        await ensuring
        return worst

    # Compiled here, it would stand still for seconds.
    assert run(work()) < 1


def test_it_keeps_within_bounds(tmp_path: Path) -> None:
    told: list[CompileEvent] = []

    async def work() -> None:
        compiled = CompiledComponents(tmp_path, CompileLimits(max_bytes=0), on_event=told.append)
        old = await compiled.ensure(*kept(tmp_path, small(1)))
        os.utime(old, (1, 1))
        new = await compiled.ensure(*kept(tmp_path, small(2)))
        assert (old.exists(), new.exists()) == (False, True)
        os.utime(new, (1, 1))
        tidying = asyncio.create_task(compiled.keep_tidy())
        until = time.monotonic() + 20
        while new.exists():
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        tidying.cancel()

    run(work())
    assert FilesEvicted(1) in told


def test_a_cache_removed_under_the_service(tmp_path: Path) -> None:
    told: list[CompileEvent] = []
    root = tmp_path / "cache"
    bundle, wasm = kept(tmp_path / "bundles", small())
    compiled = CompiledComponents(root, on_event=told.append)
    file = run(compiled.ensure(bundle, wasm))
    shutil.rmtree(root)
    assert run(compiled.ensure(bundle, wasm)) == file
    assert file.exists()
    assert len(compiles(told)) == 2


def test_a_disk_that_is_full_or_broken(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.write_text("in the way")
    with pytest.raises(GuestFailure, match="cannot keep compiled components") as caught:
        run(CompiledComponents(root).ensure(*kept(tmp_path / "bundles", small())))
    assert caught.value.kind is FailureKind.HOST
