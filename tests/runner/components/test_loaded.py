"""Components in memory: loaded once, the last ones called, and made anew when they are damaged."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compiled import (
    CompiledComponents,
    CompileEnded,
    CompileEvent,
    FileDamaged,
    GuestLoaded,
)
from algaenv.runner.components.compiler import CompileLimits
from algaenv.runner.components.loaded import LoadedComponents
from algaenv.runner.wasm.failure import FailureKind, GuestFailure
from tests.params import slow_params

from .components import ill_typed, kept, small

NEVER_MIND = "cannot load a compiled component"


class Guest:
    def __init__(self, component: object) -> None:
        self.component = component


class Loader:
    """Loads for real, and links nothing."""

    def __init__(self) -> None:
        import wasmtime

        from algaenv.runner.wasm.engine_config import config

        self.engine: Any = wasmtime.Engine(config())

    def load(self, file: Path, /) -> Guest:
        import wasmtime
        from wasmtime.component import Component

        from algaenv.runner.wasm.guest import UnusableFile

        file.stat()
        try:
            return Guest(Component.deserialize_file(self.engine, str(file)))
        except wasmtime.WasmtimeError as error:
            raise UnusableFile(str(error)) from None


class LoadedCache:
    """Loaded components, and the events about them."""

    def __init__(self, root: Path, loader: Loader, most: int = 3) -> None:
        self.root = root
        self.told: list[CompileEvent] = []
        self.compiled = CompiledComponents(
            root, CompileLimits(max_bytes=0), on_event=self.told.append
        )
        self.loaded = LoadedComponents(loader, self.compiled, most, on_event=self.told.append)

    def count(self, kind: type[CompileEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.told)


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader()


@pytest.fixture
def cache(tmp_path: Path, loader: Loader) -> LoadedCache:
    return LoadedCache(tmp_path / "cache", loader)


def test_it_is_loaded_once(cache: LoadedCache, tmp_path: Path) -> None:
    bundle, wasm = kept(tmp_path, small())
    twin = Digest.of(b"another bundle with this component")

    async def work() -> None:
        assert cache.loaded.get(bundle) is None
        guests = await asyncio.gather(
            *(cache.loaded.guest(each, wasm) for each in (bundle, twin) for _ in range(5))
        )
        assert len(set(guests)) == 1
        assert cache.loaded.get(bundle) is cache.loaded.get(twin) is guests[0]
        assert await cache.loaded.guest(bundle, wasm) is guests[0]

    asyncio.run(work())
    assert (cache.count(CompileEnded), cache.count(GuestLoaded)) == (1, 1)
    assert len(cache.loaded) == 1


@pytest.mark.slow
def test_those_called_last_stay(cache: LoadedCache, tmp_path: Path) -> None:
    made = [kept(tmp_path, small(n)) for n in range(5)]

    async def work() -> None:
        first = weakref.ref(await cache.loaded.guest(*made[0]))
        for each in made[1:3]:
            await cache.loaded.guest(*each)
        assert cache.loaded.get(made[0][0]) is first()
        await cache.loaded.guest(*made[3])
        assert [cache.loaded.get(bundle) is not None for bundle, _ in made] == [
            *(True, False, True, True, False)
        ]
        in_use = first()
        await cache.loaded.guest(*made[1])
        await cache.loaded.guest(*made[4])
        await cache.loaded.guest(*made[2])
        assert cache.loaded.get(made[0][0]) is None
        assert in_use is first()
        del in_use
        gc.collect()
        assert first() is None

    asyncio.run(work())
    assert len(cache.loaded) == 3


@pytest.mark.slow
def test_what_is_loaded_stays_on_the_disk(cache: LoadedCache, tmp_path: Path) -> None:
    made = [kept(tmp_path, small(n)) for n in range(4)]

    async def work() -> list[bool]:
        for each in made:
            await cache.loaded.guest(*each)
        places = [place for bundle, _ in made if (place := cache.compiled.path_of(bundle))]
        for file in places:
            os.utime(file, (1, 1))
        await cache.compiled.tidy()
        return [file.exists() for file in places]

    assert asyncio.run(work()) == [False, True, True, True]


@pytest.mark.parametrize(
    "damage", ["gone", *slow_params("empty", "cut", "junk", "of another engine")]
)
def test_a_damaged_file_is_made_anew(
    cache: LoadedCache, tmp_path: Path, loader: Loader, damage: str
) -> None:
    bundle, wasm = kept(tmp_path, small())

    async def work() -> None:
        file = await cache.compiled.ensure(bundle, wasm)
        match damage:
            case "empty":
                replace(file, b"")
            case "cut":
                replace(file, file.read_bytes()[:-100])
            case "junk":
                replace(file, os.urandom(10_000))
            case "of another engine":
                replace(file, foreign(small()))
            case _:
                file.unlink()
        other = LoadedCache(cache.root, loader)
        ten = (other.loaded.guest(bundle, wasm) for _ in range(10))
        assert len(set(await asyncio.gather(*ten))) == 1
        expected = 0 if damage == "gone" else 1
        assert (other.count(CompileEnded), other.count(FileDamaged)) == (1, expected)

    asyncio.run(work())


def replace(file: Path, content: bytes) -> None:
    """Put another file in its place: one that is loaded must never be written to."""
    other = file.with_suffix(".new")
    other.touch(mode=0o600)
    other.write_bytes(content)
    other.rename(file)


def foreign(content: bytes) -> bytes:
    import wasmtime
    from wasmtime.component import Component

    return bytes(Component(wasmtime.Engine(wasmtime.Config()), content).serialize())


def test_a_file_that_goes_at_the_last_moment(
    cache: LoadedCache, tmp_path: Path, loader: Loader
) -> None:
    bundle, wasm = kept(tmp_path, small())

    class Late(Loader):
        def __init__(self) -> None:
            self.engine = loader.engine
            self.times = 0

        def load(self, file: Path, /) -> Guest:
            self.times += 1
            if self.times == 1:
                file.unlink()
            return super().load(file)

    late = LoadedCache(cache.root, Late())
    asyncio.run(late.loaded.guest(bundle, wasm))
    assert late.count(CompileEnded) == 2


def test_one_that_can_never_be_loaded_is_not_made_again_and_again(
    cache: LoadedCache, tmp_path: Path
) -> None:
    bundle, wasm = kept(tmp_path, small())

    class Never(Loader):
        def __init__(self) -> None:
            pass

        def load(self, file: Path, /) -> Guest:
            from algaenv.runner.wasm.guest import UnusableFile

            raise UnusableFile("not on this machine")

    never = LoadedCache(cache.root, Never())

    async def work() -> None:
        for _ in range(3):
            with pytest.raises(GuestFailure) as caught:
                await never.loaded.guest(bundle, wasm)
            assert caught.value.kind is FailureKind.HOST
            assert caught.value.causes == (NEVER_MIND, "not on this machine")

    asyncio.run(work())
    assert never.count(CompileEnded) == 2
    assert never.count(GuestLoaded) == len(never.loaded) == 0


def test_a_component_that_is_refused(cache: LoadedCache, tmp_path: Path) -> None:
    with pytest.raises(GuestFailure, match="failed to compile"):
        asyncio.run(cache.loaded.guest(*kept(tmp_path, ill_typed())))
    assert len(cache.loaded) == 0


@pytest.fixture(scope="module")
def guests() -> Iterator[Any]:
    from algaenv.runner.wasm.guest import GuestLoader

    made = GuestLoader({}, 1, pooled=False)
    yield made
    made.close()


def test_what_the_component_lacks_is_no_damage(tmp_path: Path, guests: Any) -> None:
    told: list[CompileEvent] = []
    compiled = CompiledComponents(tmp_path, on_event=told.append)
    loaded = LoadedComponents(guests, compiled, on_event=told.append)

    async def work() -> None:
        bundle, wasm = kept(tmp_path, small())
        for _ in range(2):
            with pytest.raises(GuestFailure) as caught:
                await loaded.guest(bundle, wasm)
            assert caught.value.kind is FailureKind.SIGNATURE
        file = compiled.path_of(bundle)
        assert file
        replace(file, b"junk")
        with pytest.raises(GuestFailure) as caught:
            await loaded.guest(bundle, wasm)
        assert caught.value.kind is FailureKind.SIGNATURE

    asyncio.run(work())
    assert [type(event) for event in told] == [CompileEnded, FileDamaged, CompileEnded]
