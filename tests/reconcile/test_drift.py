"""What something else changed, apart from what the spec changed: over a world in memory."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.model.drift import Drift, DriftReport, DriftRule
from algaenv.model.kind import BUCKET, BUNDLE, FOLDER, PROCESS, RELEASE
from algaenv.model.problem import EngineGone, Failed, NotReady, Problem
from tests.reconcile.memory_dependencies import MemoryDependencies

FIRST = BUNDLE.address(f"hello@{Digest.of(b'first').short}")
RELEASE_ROWS = RELEASE.address("hello")


@pytest.fixture
def memory(tmp_path: Path) -> MemoryDependencies:
    memory = MemoryDependencies(tmp_path)
    up(memory)
    return memory


def up(memory: MemoryDependencies) -> int:
    report = memory.application.up(memory.request, memory.events.append)
    assert report.failed == 0
    return report.changed


def drift(memory: MemoryDependencies) -> DriftReport:
    calls, saved = list(memory.world.calls), memory.saved
    found = memory.application.drift(memory.request, memory.events.append)
    assert (memory.world.calls, memory.saved) == (calls, saved)
    return found


def fields(memory: MemoryDependencies) -> list[str]:
    found = drift(memory).drifted
    return [f"{it.address} {each.field}: {each}" for it in found for each in it.fields]


def test_nothing_has_drifted_after_up(memory: MemoryDependencies) -> None:
    assert drift(memory) == DriftReport((), {})


def test_without_a_run_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    memory = MemoryDependencies(tmp_path)
    with pytest.raises(NotReady) as caught:
        drift(memory)
    assert caught.value.problem.code == "drift-no-record"


def test_after_down_there_is_only_what_was_kept(memory: MemoryDependencies) -> None:
    memory.application.down(memory.request, memory.events.append, volumes=False)
    assert memory.saved is not None
    assert memory.saved.record is not None
    assert str(PROCESS.address("store")) not in memory.saved.record
    assert str(FOLDER.address("store")) in memory.saved.record


def test_what_is_gone_is_named_in_both_tiers(memory: MemoryDependencies) -> None:
    for address in (PROCESS.address("redis"), BUCKET.address("extensions"), FIRST):
        del memory.world.there[address]
    assert fields(memory) == [
        "bucket/extensions exists: it is gone",
        f"{FIRST} exists: it is gone",
        "process/redis exists: it is gone",
    ]
    up(memory)
    assert fields(memory) == []
    del memory.world.there[RELEASE_ROWS]
    assert fields(memory) == ["release/hello exists: it is gone"]
    up(memory)
    assert fields(memory) == []


def test_a_bundle_is_not_called_gone_where_only_its_rows_are(memory: MemoryDependencies) -> None:
    """A real snapshot finds bundles by the rows of their extension."""
    for address in (FIRST, RELEASE_ROWS):
        del memory.world.there[address]
    report = drift(memory)
    assert [it.address for it in report.drifted] == [RELEASE_ROWS]
    assert report.unseen == {str(FIRST): "no rows say where it is"}


def test_a_change_of_the_spec_is_no_drift(memory: MemoryDependencies) -> None:
    memory.archives = {"hello": b"second", "other": b"third"}
    assert fields(memory) == []
    assert up(memory) > 0
    assert fields(memory) == []
    memory.archives = {"hello": b"second"}
    assert fields(memory) == []


def test_a_bucket_that_the_spec_names_no_more_is_not_missed(memory: MemoryDependencies) -> None:
    intent = memory.lock.intent
    more = replace(intent, store=replace(intent.store, buckets=(*intent.store.buckets, "more")))
    memory.lock = replace(memory.lock, intent=more)
    assert up(memory) == 1
    del memory.world.there[BUCKET.address("more")]
    assert fields(memory) == ["bucket/more exists: it is gone"]
    memory.lock = replace(memory.lock, intent=intent)
    up(memory)
    assert fields(memory) == []


def test_what_was_never_installed_is_not_missed(memory: MemoryDependencies) -> None:
    memory.archives = {"hello": b"first", "other": b"third"}
    memory.request = replace(memory.request, extensions=("hello",))
    up(memory)
    assert fields(memory) == []


def test_what_a_failed_step_left_is_not_in_the_record(tmp_path: Path) -> None:
    memory = MemoryDependencies(tmp_path)
    failure = Failed(Problem("broken", "cannot write the rows"))
    memory.world.failures["create release/hello"] = failure
    memory.application.up(memory.request, memory.events.append)
    assert fields(memory) == []
    memory.world.failures.clear()
    up(memory)
    del memory.world.there[RELEASE_ROWS]
    assert fields(memory) == ["release/hello exists: it is gone"]


def test_a_stopped_service_hides_its_content(memory: MemoryDependencies) -> None:
    memory.world.stop("database")
    there = memory.world.there[PROCESS.address("database")]
    since = "2026-11-30T22:04:05Z"
    memory.world.there[PROCESS.address("database")] = replace(there, since=since)
    report = drift(memory)
    (found,) = report.drifted
    assert (str(found.address), found.fields[0].field) == ("process/database", "running")
    assert found.fields[0].since == since
    assert report.unseen == {"content": "process/database does not run"}


def test_a_field_and_a_record_of_something_else(memory: MemoryDependencies) -> None:
    world = memory.world.there
    rows = Drift("enabled is false, recorded true", "enabled", "true", "false")
    world[RELEASE_ROWS] = replace(world[RELEASE_ROWS], drift=(rows,))
    redis = PROCESS.address("redis")
    world[redis] = replace(world[redis], recorded="0" * 16)
    world[PROCESS.address("copy")] = replace(world[redis], running=True)
    report = drift(memory)
    assert [(str(it.address), [each.field for each in it.fields]) for it in report.drifted] == [
        ("process/copy", ["exists"]),
        ("process/redis", ["record"]),
        ("release/hello", ["enabled"]),
    ]
    assert report.drifted[2].fields[0].recorded == "true"


def test_bytes_of_a_bundle_that_are_not_those_of_its_key(memory: MemoryDependencies) -> None:
    memory.world.failures["fetch"] = Failed(Problem("kept-damaged", "cannot read the bundle"))
    (found,) = drift(memory).drifted
    assert (found.address, found.fields[0].field) == (FIRST, "bytes")


def test_another_failure_to_read_a_bundle_is_an_error(memory: MemoryDependencies) -> None:
    memory.world.failures["fetch"] = Failed(Problem("disk-full", "cannot write"))
    with pytest.raises(Failed):
        drift(memory)


def test_an_engine_that_is_gone_is_an_error(memory: MemoryDependencies) -> None:
    memory.world.failures["observe services"] = EngineGone(Problem("engine-gone", "cannot"))
    with pytest.raises(EngineGone):
        drift(memory)


def test_secrets_that_are_gone_are_named_alone(
    memory: MemoryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "existing_credentials", lambda _environment, _intent: None)
    report = drift(memory)
    assert [str(it.address) for it in report.drifted] == ["secret/secrets.json"]
    assert report.unseen


def test_an_ignored_field_is_neither_reported_nor_reverted(memory: MemoryDependencies) -> None:
    rows = Drift("config.theme is dark, recorded light", "config.theme")
    world = memory.world.there
    world[RELEASE_ROWS] = replace(world[RELEASE_ROWS], drift=(rows,))
    assert len(fields(memory)) == 1
    rules = (DriftRule("release", "*", "config"),)
    memory.lock = replace(memory.lock, intent=replace(memory.lock.intent, drift_ignore=rules))
    report = drift(memory)
    assert (report.drifted, report.ignored) == ((), 1)
    assert up(memory) == 0
    assert memory.application.plan(memory.request, memory.events.append).changes == ()


@pytest.mark.parametrize(
    ("rule", "field", "covered"),
    [
        (DriftRule("release", "hello", "config.theme"), "config.theme", True),
        (DriftRule("release", "hello", "config.theme"), "config.other", False),
        (DriftRule("release", "hello", "config"), "config.theme", True),
        (DriftRule("release", "h*", "conf*"), "config.theme", True),
        (DriftRule("release", "other", "*"), "config.theme", False),
        (DriftRule("*", "*", "*"), "config.theme", True),
        (DriftRule("*", "*", "*"), "exists", False),
        (DriftRule("container", "*", "*"), "config.theme", False),
    ],
)
def test_what_a_rule_covers(rule: DriftRule, field: str, covered: bool) -> None:
    assert rule.covers(RELEASE_ROWS, field) is covered


def test_a_week_of_runs_without_a_change_writes_nothing(
    memory: MemoryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hour a plan, a drift and an `up`; every day the services are started anew."""
    begun, calls = time.time(), list(memory.world.calls)
    saves = []
    monkeypatch.setattr(memory, "save_state", lambda _environment, saved: saves.append(saved))
    for hour in range(7 * 24):
        moment = begun + hour * 3600
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert memory.application.plan(memory.request, memory.events.append).changes == ()
        assert drift(memory) == DriftReport((), {})
        assert up(memory) == 0
        if hour % 24 == 0:
            for address, there in list(memory.world.there.items()):
                if address in PROCESS:
                    memory.world.there[address] = replace(there, handle=f"{hour}:{hour}")
    assert (memory.world.calls, saves) == (calls, [])
