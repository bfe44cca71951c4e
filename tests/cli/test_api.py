"""What the library adds to the use cases, over services in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv import api, wiring
from algaenv.dependencies import Request, UseCases
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


def test_profiles_and_a_name_reach_the_request(
    tmp_path: Path, memory: MemoryDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []

    def build_application(request: Request) -> UseCases:
        seen.append(request)
        return memory.application

    monkeypatch.setattr(wiring, "build_application", build_application)
    spec = tmp_path / "algaenv.yaml"
    api.Environment(spec, isolated="feature", profiles=["full", "demo"], environ={"A": "b"}).plan()
    (request,) = seen
    assert request.spec == tmp_path / ".algaenv/isolated/feature/algaenv.yaml"
    assert request.environ == {"A": "b", "ALGAENV_PROFILES": "full,demo"}
    with pytest.raises(ValueError, match="no name"):
        api.Environment(spec, isolated="Feature")


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
