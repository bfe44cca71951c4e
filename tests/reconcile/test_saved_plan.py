"""A plan that was written down is carried out as it is, or nothing is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.model.drift import Drift
from algaenv.model.event import Report, Warned
from algaenv.model.kind import PROCESS, RELEASE
from algaenv.model.lock import Environment, LifetimeChange
from algaenv.model.secret import Secret
from algaenv.plan.saved import SavedPlan
from tests.reconcile.memory_dependencies import MemoryDependencies


@pytest.fixture
def memory(tmp_path: Path) -> MemoryDependencies:
    return MemoryDependencies(tmp_path)


def save(memory: MemoryDependencies) -> SavedPlan:
    return memory.application.plan_to_save(memory.request, memory.events.append)[1]


def up(memory: MemoryDependencies, plan: SavedPlan | None = None) -> Report:
    request = replace(memory.request, saved_plan=plan)
    return memory.application.up(request, memory.events.append)


def refused(memory: MemoryDependencies, plan: SavedPlan) -> tuple[str, ...]:
    """What the refusal names; nothing was done."""
    before = (list(memory.world.calls), dict(memory.world.there), memory.saved)
    report = up(memory, plan)
    assert report_exit_code(report) is ExitCode.STALE
    (problem,) = report.problems
    assert problem.code == "plan-stale"
    assert (memory.world.calls, memory.world.there, memory.saved) == before
    return problem.detail


def test_a_saved_plan_is_carried_out_step_by_step(memory: MemoryDependencies) -> None:
    plan = save(memory)
    assert memory.world.calls == []
    report = up(memory, plan)
    assert report_exit_code(report) is ExitCode.DONE
    assert report.status is not None
    assert {(str(it.step.verb), str(it.step.address)) for it in report.ended} == {
        (it.verb, it.address) for it in plan.steps
    }
    # Everything is there by now, so it fits no more.
    found = refused(memory, plan)
    assert any(it.startswith("process/store was absent, and is now there (") for it in found)


def test_a_plan_of_nothing_is_carried_out_any_number_of_times(memory: MemoryDependencies) -> None:
    up(memory)
    plan = save(memory)
    calls = len(memory.world.calls)
    assert [report_exit_code(up(memory, plan)) for _ in range(2)] == [ExitCode.DONE] * 2
    assert len(memory.world.calls) == calls


def test_an_edited_source_makes_it_stale(memory: MemoryDependencies) -> None:
    up(memory)
    memory.archives["hello"] = b"second"
    plan = save(memory)
    memory.archives["hello"] = b"third"
    (found,) = refused(memory, plan)
    assert found.startswith("bundle of hello: sha256:")
    memory.archives["hello"] = b"second"
    assert up(memory, plan).changed == 2


def test_an_extension_more_or_less_makes_it_stale(memory: MemoryDependencies) -> None:
    up(memory)
    plan = save(memory)
    memory.archives["notes"] = b"notes"
    assert "spec: extensions.notes added" in refused(memory, plan)
    plan = save(memory)
    del memory.archives["notes"]
    assert "spec: extensions.notes removed" in refused(memory, plan)


def test_what_the_spec_and_its_secrets_say_makes_it_stale(memory: MemoryDependencies) -> None:
    up(memory)
    plan = save(memory)
    lock = memory.lock
    memory.lock = replace(lock, intent=replace(lock.intent, ready_timeout=1.5))
    assert refused(memory, plan) == ("spec: ready_timeout changed",)
    memory.lock = replace(lock, ports=replace(lock.ports, redis=7001))
    assert f"port: redis: {lock.ports.redis} → 7001" in refused(memory, plan)
    other = replace(lock.credentials, secret_key=Secret("another"))
    memory.lock = replace(lock, credentials=other)
    assert "secrets changed" in refused(memory, plan)
    memory.lock = lock
    assert report_exit_code(up(memory, plan)) is ExitCode.DONE


def test_what_was_changed_by_hand_makes_it_stale(memory: MemoryDependencies) -> None:
    up(memory)
    plan = save(memory)
    rows = RELEASE.address("hello")
    whole = dict(memory.world.there)
    drift = (Drift("enabled true → false", "enabled"),)
    memory.world.there[rows] = replace(whole[rows], drift=drift)
    (found,) = refused(memory, plan)
    assert found.endswith(": enabled true → false")
    assert "and is now drifted (" in found
    memory.world.there = whole
    memory.world.stop("redis")
    (found,) = refused(memory, plan)
    assert found.startswith("process/redis was there (")
    assert ", and is now stopped (" in found
    # Planned while it was stopped, and gone by now: another step, though a step all the same.
    plan = save(memory)
    del memory.world.there[PROCESS.address("redis")]
    (found,) = refused(memory, plan)
    assert found.endswith("), and is now absent")


def test_a_plan_of_another_environment_is_refused(memory: MemoryDependencies) -> None:
    plan = save(memory)
    (found,) = refused(memory, replace(plan, environment="0123456789"))
    assert found.startswith("environment: 0123456789 (")


def test_a_plan_with_other_steps_is_refused(memory: MemoryDependencies) -> None:
    up(memory)
    memory.archives["hello"] = b"second"
    plan = save(memory)
    verbs = tuple(replace(it, verb="create", cause="missing") for it in plan.steps)
    assert any("update: spec changed" in it for it in refused(memory, replace(plan, steps=verbs)))
    wanted = tuple(replace(it, wanted="") for it in plan.steps)
    (found,) = refused(memory, replace(plan, steps=wanted))
    assert found.startswith("what is wanted of bundle/hello@")


def test_what_could_not_be_seen_is_left_to_another_plan(memory: MemoryDependencies) -> None:
    up(memory)
    memory.world.stop("database")
    memory.archives["hello"] = b"second"
    plan = save(memory)
    assert "release/hello" in plan.deferred
    report = up(memory, plan)
    assert (report_exit_code(report), report.changed) == (ExitCode.DONE, 1)
    warnings = [it.problem.code for it in memory.events if isinstance(it, Warned)]
    assert warnings == ["plan-partial"]
    assert up(memory, save(memory)).changed == 2


def test_content_that_was_not_absent_after_all_stops_it(memory: MemoryDependencies) -> None:
    plan = save(memory)
    seen: list[str] = []

    def appear(call: str) -> None:
        if call == "read content" and not seen:
            seen.append(call)
            found = MemoryDependencies(memory.lock.environment.home)
            up(found)
            rows = RELEASE.address("hello")
            memory.world.there[rows] = found.world.there[rows]

    memory.world.before = appear
    report = up(memory, plan)
    assert report_exit_code(report) is ExitCode.STALE
    assert seen
    assert not any("release" in call or "bundle" in call for call in memory.world.calls)


def test_a_stale_plan_changes_nothing_about_the_end(
    memory: MemoryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[LifetimeChange | None] = []

    def renew(environment: Environment, change: LifetimeChange | None) -> None:
        changes.append(change)

    monkeypatch.setattr(memory, "renew_lifetime", renew)
    plan = save(memory)
    memory.archives["hello"] = b"second"
    lasting = LifetimeChange(60.0)
    memory.request = replace(memory.request, lifetime=lasting)
    refused(memory, plan)
    assert changes == []
    assert report_exit_code(up(memory, save(memory))) is ExitCode.DONE
    assert changes == [lasting, None]
