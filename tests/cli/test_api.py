"""What the library adds to the use cases, over services in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv import api, wiring
from algaenv.model.problem import Unavailable
from tests.reconcile.memory_dependencies import MemoryDependencies


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryDependencies:
    made = MemoryDependencies(tmp_path)
    monkeypatch.setattr(wiring, "build_application", lambda _request: made.application)
    return made


def services(memory: MemoryDependencies) -> set[str]:
    return {it.name for it in api.Environment().status().services if it.state == "ready"}


def call_what_is_not_there(env: api.Environment, memory: MemoryDependencies) -> None:
    assert env.up().extensions
    assert "runner" in services(memory)
    env.call("other", "/x")


def test_what_it_has_started_ends_with_the_block(memory: MemoryDependencies) -> None:
    env = api.Environment()
    with pytest.raises(api.AlgaenvError), env:
        call_what_is_not_there(env, memory)
    assert services(memory) == set()


def test_what_was_up_before_goes_on(memory: MemoryDependencies) -> None:
    api.Environment().up()
    with api.Environment() as env:
        env.up()
    assert "runner" in services(memory)


def test_a_run_that_fails_has_problems_a_report_and_an_exit_code(
    memory: MemoryDependencies,
) -> None:
    broken = Unavailable(api.Problem("odd", "cannot start it"))
    memory.world.failures["create process/runner"] = broken
    with pytest.raises(api.RunFailed) as raised:
        api.Environment().up()
    assert raised.value.problem.code == "odd"
    assert (raised.value.exit_code, raised.value.report.verb) == (7, "up")


def test_a_cancelled_run_says_so(memory: MemoryDependencies) -> None:
    with pytest.raises(api.RunFailed) as raised:
        api.Environment(cancelled=lambda: True).up()
    assert raised.value.exit_code == 130


def test_a_plan_is_written_and_carried_out(memory: MemoryDependencies, tmp_path: Path) -> None:
    file = tmp_path / "changes.plan"
    env = api.Environment(memory.lock.environment.spec)
    planned = env.plan(out=file)
    assert memory.world.calls == []
    env.up(plan=file)
    assert len(memory.world.calls) == len(planned.changes)
    with pytest.raises(api.RunFailed) as raised:
        env.up(plan=file)
    assert (raised.value.exit_code, raised.value.problem.code) == (11, "plan-stale")
