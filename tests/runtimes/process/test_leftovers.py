"""What a killed run leaves between two unlinks is removed, and nothing that is in use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from algaenv.model.problem import Failed
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.layout import private_directory
from algaenv.runtimes.process.supervisor import records
from algaenv.system.files import write_atomic
from tests.runtimes.process.harness import Harness
from tests.runtimes.process.test_folders import folder
from tests.runtimes.process.test_service_lock import FOREVER, held_by_a_stranger

LEFT: dict[str, Callable[[Harness], Path]] = {
    "a lock": lambda harness: harness.layout.lock("redis"),
    "a record written aside": lambda harness: harness.layout.run / "redis.json.4711.new",
    "settings": lambda harness: harness.layout.etc("redis") / "redis.conf",
    "settings written aside": lambda harness: harness.layout.etc("redis") / ".redis.conf.4711.new",
    "a folder half made": lambda harness: harness.layout.data / ".algaenv-4711-0" / "content" / "x",
}


def leave(harness: Harness, what: str) -> Path:
    path = LEFT[what](harness)
    private_directory(path.parent)
    write_atomic(path, b"a secret")
    return path


def files(harness: Harness) -> list[Path]:
    return [path for path in harness.environment.home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", LEFT)
def test_it_is_removed(bare: Harness, what: str) -> None:
    leave(bare, what)
    discovery.remove_leftovers(bare.environment)
    assert files(bare) == []
    discovery.remove_leftovers(bare.environment)


def test_a_record_that_nobody_can_read_goes_with_the_data(bare: Harness) -> None:
    private_directory(bare.layout.run)
    write_atomic(bare.layout.record("redis"), b"{")
    discovery.remove_leftovers(bare.environment)
    assert files(bare) == [bare.layout.record("redis")]
    discovery.remove_leftovers(bare.environment, data=True)
    assert files(bare) == []


@pytest.mark.parametrize("what", ["a lock", "a record written aside", "settings"])
def test_what_is_held_out_of_sight_stays(bare: Harness, what: str) -> None:
    left = leave(bare, what)
    with held_by_a_stranger(bare):
        discovery.remove_leftovers(bare.environment, data=True)
        assert left.exists()
    discovery.remove_leftovers(bare.environment)
    assert not left.exists()


def test_what_runs_stays_with_all_of_its_files(bare: Harness) -> None:
    bare.create(folder(bare))
    bare.python(FOREVER, files={"settings": "value"})
    before = set(files(bare))
    discovery.remove_leftovers(bare.environment, data=True)
    assert set(files(bare)) == before
    bare.layout.record("redis").unlink()
    discovery.remove_leftovers(bare.environment, data=True)
    assert set(files(bare)) == before - {bare.layout.record("redis")}
    assert records.marked_processes(bare.environment.id)


def test_what_cannot_be_removed_is_reported_and_the_rest_goes(
    bare: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in LEFT:
        leave(bare, what)
    real = shutil.rmtree

    def rmtree(path: Path, **_: object) -> None:
        if path == bare.layout.etc("redis"):
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(Failed) as caught:
        discovery.remove_leftovers(bare.environment)
    (problem,) = caught.value.problems
    assert problem.code == "left-behind"
    assert str(bare.layout.etc("redis")) in problem.summary
    assert {path.parent for path in files(bare)} == {bare.layout.etc("redis")}
