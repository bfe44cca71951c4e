"""Native code of the shell is compiled once for all environments of a user."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.runner.components.compile_cache import SharedCode
from algaenv.runner.components.compiled import CompiledComponents, CompileEnded, CompileEvent

from .components import kept, small


class Service:
    """The compiled components of one environment."""

    def __init__(self, root: Path, shared: Path, component: Digest) -> None:
        self.events: list[CompileEvent] = []
        self.root = root
        self.compiled = CompiledComponents(
            root, on_event=self.events.append, shared=SharedCode(shared, component)
        )

    def ensure(self, wasm: Path) -> Path:
        return asyncio.run(self.compiled.ensure(Digest.of(b"bundle"), wasm))

    @property
    def compiles(self) -> int:
        return sum(isinstance(it, CompileEnded) for it in self.events)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def wasm(tmp_path: Path) -> Path:
    return kept(tmp_path, small())[1]


def test_a_second_environment_compiles_nothing(tmp_path: Path, shared: Path, wasm: Path) -> None:
    component = Digest.of_file(wasm)
    first = Service(tmp_path / "first", shared, component)
    second = Service(tmp_path / "second", shared, component)
    one, other = first.ensure(wasm), second.ensure(wasm)
    assert (first.compiles, second.compiles) == (1, 0)
    assert one.read_bytes() == other.read_bytes()
    assert one != other
    assert (other.stat().st_mode & 0o777, shared.stat().st_mode & 0o777) == (0o600, 0o700)


def test_other_components_are_not_shared(tmp_path: Path, shared: Path, wasm: Path) -> None:
    service = Service(tmp_path / "first", shared, Digest.of(b"the shell"))
    service.ensure(wasm)
    assert not shared.exists()


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def let_others_write(file: Path) -> None:
    file.chmod(0o622)


def open_the_directory(file: Path) -> None:
    file.parent.chmod(0o777)


def lead_elsewhere(file: Path) -> None:
    moved = file.with_name("elsewhere")
    file.rename(moved)
    file.symlink_to(moved)


def lose_the_digest(file: Path) -> None:
    file.with_suffix(".sha256").unlink()


@pytest.mark.parametrize(
    "spoil",
    [damage, cut_off, let_others_write, open_the_directory, lead_elsewhere, lose_the_digest],
)
def test_what_cannot_be_trusted_is_compiled(
    tmp_path: Path, shared: Path, wasm: Path, spoil: Callable[[Path], None]
) -> None:
    component = Digest.of_file(wasm)
    compiled = Service(tmp_path / "first", shared, component).ensure(wasm)
    (file,) = shared.glob("*.cwasm")
    spoil(file)
    second = Service(tmp_path / "second", shared, component)
    assert second.ensure(wasm).read_bytes() == compiled.read_bytes()
    assert second.compiles == 1
    assert not list((second.root / ".algaenv" / "compiled" / "tmp").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user_is_compiled(tmp_path: Path, shared: Path, wasm: Path) -> None:
    component = Digest.of_file(wasm)
    Service(tmp_path / "first", shared, component).ensure(wasm)
    (file,) = shared.glob("*.cwasm")
    os.chown(file, 65_534, 65_534)
    second = Service(tmp_path / "second", shared, component)
    second.ensure(wasm)
    assert second.compiles == 1


def test_what_cannot_be_loaded_is_not_fetched_again(
    tmp_path: Path, shared: Path, wasm: Path
) -> None:
    component = Digest.of_file(wasm)
    service = Service(tmp_path / "first", shared, component)
    service.compiled.remove(service.ensure(wasm))
    assert not list(shared.iterdir())
    service.ensure(wasm)
    assert service.compiles == 2


def test_a_directory_that_cannot_be_made_stops_nothing(
    tmp_path: Path, shared: Path, wasm: Path
) -> None:
    shared.write_text("in the way")
    service = Service(tmp_path / "first", shared, Digest.of_file(wasm))
    assert service.ensure(wasm).is_file()


def test_it_is_bounded(tmp_path: Path, shared: Path) -> None:
    code = SharedCode(shared, Digest.of(b"the shell"))
    for number in range(6):
        made = tmp_path / f"{number}.cwasm"
        made.write_bytes(b"code")
        code.keep(made)
        for file in shared.glob(f"{number}@*"):
            os.utime(file, (number, number))
    assert sorted(it.name[0] for it in shared.glob("*.cwasm")) == ["2", "3", "4", "5"]
    assert len(list(shared.iterdir())) == 8
