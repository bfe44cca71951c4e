"""The lock file: what is written, what stays, and what `up` makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.event import Event, Warned
from algaenv.model.intent import BuildIntent, ImagePin, ProgramPin
from algaenv.model.pins import Pins, ServicePin, asked_of, differences, with_pins
from algaenv.model.problem import LockDiffers, Refused
from tests.reconcile.memory_dependencies import MemoryDependencies

ELSEWHERE = ServicePin("docker", "linux/arm64", "redis", "?", "valkey", "9", "pulled", "sha256:a")


@pytest.fixture
def there(tmp_path: Path) -> MemoryDependencies:
    return MemoryDependencies(tmp_path)


def locked(there: MemoryDependencies, *update: str, anew: bool = False) -> Pins:
    return there.application.write_lock(there.request, update if update or anew else None).pins


def up(there: MemoryDependencies, *, locked: bool = False) -> tuple[list[str], tuple[str, ...]]:
    """The warnings, with details, and the codes of an `up`."""
    events: list[Event] = []
    report = there.application.up(replace(there.request, locked=locked), events.append)
    warned = [it.problem for it in events if isinstance(it, Warned)]
    texts = [line for it in warned if it.code == "lock-differs" for line in it.detail]
    return texts, tuple(it.code for it in report.problems)


def test_a_lock_file_has_what_would_run(there: MemoryDependencies) -> None:
    result = there.application.write_lock(there.request, None)
    assert there.pins == result.pins
    names = [it.service for it in result.pins.services]
    assert names == ["store", "redis", "database", "runner", "gateway"]
    assert result.pins.packages == {"wasmtime": "50.0.1"}
    assert result.path.name.endswith(".lock")
    assert there.application.check_lock(there.request) == ()
    again = there.application.write_lock(there.request, None)
    assert (again.changes, there.pins) == ((), result.pins)


def test_auto_locks_every_runtime_that_answers(there: MemoryDependencies) -> None:
    there.lock = replace(there.lock, intent=replace(there.lock.intent, runtime="auto"))
    result = there.application.write_lock(there.request, None)
    assert {it.runtime for it in result.pins.services} == {"process"}
    assert [it.code for it in result.left_out.values()] == ["engine-unreachable"]


@pytest.fixture(autouse=True)
def process(there: MemoryDependencies) -> None:
    there.lock = replace(there.lock, intent=replace(there.lock.intent, runtime="process"))


def test_what_is_locked_stays_unless_it_is_named(there: MemoryDependencies) -> None:
    locked(there)
    there.world.version, there.packages = "2", {"wasmtime": "51", "anyio": "4"}
    kept = locked(there)
    assert {it.version for it in kept.services} == {"1"}
    assert kept.packages == {"wasmtime": "50.0.1", "anyio": "4"}
    some = locked(there, "redis", "wasmtime")
    assert [it.service for it in some.services if it.version == "2"] == ["redis"]
    assert some.packages == {"wasmtime": "51", "anyio": "4"}
    assert {it.version for it in locked(there, anew=True).services} == {"2"}


def test_a_name_that_is_not_locked_is_refused(there: MemoryDependencies) -> None:
    before = locked(there)
    with pytest.raises(Refused) as caught:
        locked(there, "redsi", "wasmtimes")
    assert [it.code for it in caught.value.problems] == ["lock-name-unknown"] * 2
    assert "redis" in caught.value.problem.hint
    assert there.pins == before


def test_entries_of_other_platforms_stay_while_the_spec_asks_for_them(
    there: MemoryDependencies,
) -> None:
    asked = asked_of(there.lock.intent, "docker")["redis"]
    right, stale = replace(ELSEWHERE, asked=asked), replace(ELSEWHERE, platform="linux/arm")
    there.pins = replace(locked(there), services=(right, stale))
    assert right in locked(there).services
    assert stale not in locked(there).services


def test_up_warns_of_what_is_not_as_locked(there: MemoryDependencies) -> None:
    locked(there)
    assert up(there) == ([], ())
    there.world.version = "2"
    warned, failed = up(there)
    assert (len(warned), failed) == (0, ()), "nothing of spec and lock file has changed since"
    there.application._compared = None
    warned, failed = up(there)
    assert "process/store: version: locked 1, here 2" in warned
    assert failed == ()


def test_locked_refuses_and_changes_nothing(there: MemoryDependencies) -> None:
    assert up(there, locked=True) == ([], ("lock-missing",))
    locked(there)
    there.packages = {"wasmtime": "51"}
    assert up(there, locked=True) == ([], ("lock-differs",))
    assert (there.world.calls, there.saved) == ([], None)
    there.packages = {"wasmtime": "50.0.1"}
    assert up(there, locked=True) == ([], ())
    assert there.saved is not None


def test_a_stale_lock_file_is_a_difference(there: MemoryDependencies) -> None:
    locked(there)
    there.build = BuildIntent((), "/source", {}, 1.0)
    found = {str(it) for it in there.application.check_lock(there.request)}
    assert found == {"tools/hello: node: locked nothing, here v22"}
    locked(there)
    there.build = None
    assert [it.what for it in there.application.check_lock(there.request)] == ["tools/hello"]
    redis = replace(there.lock.intent.redis, profile=there.lock.intent.store.profile)
    there.lock = replace(there.lock, intent=replace(there.lock.intent, redis=redis))
    assert "process/redis: locked valkey, here minio" in {
        str(it) for it in there.application.check_lock(there.request)
    }
    there.pins = None
    with pytest.raises(LockDiffers, match="there is no"):
        there.application.check_lock(there.request)


def test_pins_of_what_the_spec_asks_for_reach_the_runtimes(there: MemoryDependencies) -> None:
    intent = there.lock.intent
    asked = asked_of(intent, "docker")
    image = ServicePin("docker", "p", "redis", asked["redis"], "valkey", "9", "pulled", "sha256:a")
    stale = replace(image, service="store")
    program = ServicePin("process", "p", "redis", "valkey", "valkey", "9", "program", "")
    pins = Pins("", "", (image, stale, program))
    pinned = with_pins(intent, pins, "p")
    assert pinned.image_pins == {"redis": ImagePin(True, "pulled", "sha256:a")}
    assert pinned.program_pins == {"redis": ProgramPin("valkey", "9")}
    assert with_pins(intent, pins, "p", frozenset({"redis"})) == intent
    assert with_pins(intent, pins, "another") == intent


def test_packages_count_only_where_they_were_looked_up() -> None:
    there = Pins("1", "t", (), {"a": "1"})
    assert differences(there, Pins("1", "t")) == ()
    assert [str(it) for it in differences(there, Pins("2", "t", (), {"b": "1"}))] == [
        "algaenv: version: locked 1, here 2",
        "packages: a: locked 1, here nothing",
        "packages: b: locked nothing, here 1",
    ]
