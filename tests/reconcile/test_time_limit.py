"""A run whose time is over says what it was waiting for, and fails as one that is not ready."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.cli.exit_codes import ExitCode, report_exit_code
from algaenv.model.event import Event, Report, Resolved, Resolving, StepWaiting
from algaenv.model.kind import Address
from algaenv.model.probe import NotYet, Probe, ProbeResult
from algaenv.model.problem import Problem
from algaenv.reconcile.time_limit import TimeLimit
from tests.reconcile.memory_dependencies import MemoryDependencies


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def interrupted() -> Report:
    return Report("up", interrupted=True)


def test_it_names_what_was_under_way(clock: Clock) -> None:
    seen: list[Event] = []
    limit = TimeLimit(5, lambda: False, seen.append, clock)
    events: list[Event] = [
        Resolving("hello", "building"),
        Resolved("hello", "built", 0.1),
        StepWaiting(Address("process", "runner"), "connection refused", 1.0),
    ]
    for event in events:
        limit.emit(event)
    assert seen == events
    clock.now = 4.9
    assert not limit.cancelled()
    clock.now = 5.0
    assert limit.cancelled()
    (problem,) = limit.applied(interrupted()).problems
    assert problem.summary == "cannot bring it up within 5 s: it was waiting for process/runner"
    assert problem.detail == ("process/runner: connection refused",)


def test_an_interrupt_of_the_caller_is_none_of_its_business(clock: Clock) -> None:
    limit = TimeLimit(5, lambda: True, lambda _: None, clock)
    clock.now = 6.0
    assert limit.cancelled()
    assert limit.applied(interrupted()) == interrupted()


def test_what_failed_before_decides_the_exit_code(clock: Clock) -> None:
    limit = TimeLimit(0, lambda: False, lambda _: None, clock)
    assert limit.cancelled()
    failed = replace(interrupted(), problems=(Problem("locked", "cannot"),), error="Locked")
    assert report_exit_code(limit.applied(failed)) is ExitCode.LOCKED
    assert [it.code for it in limit.applied(failed).problems] == ["locked", "up-timeout"]


def test_a_run_that_ended_in_time_is_left_as_it_is(clock: Clock) -> None:
    limit = TimeLimit(5, lambda: False, lambda _: None, clock)
    assert limit.applied(Report("up")) == Report("up")


class Silent:
    """The runner never answers."""

    def __init__(self, memory: MemoryDependencies) -> None:
        self._prober = memory.services

    def probe(self, probe: Probe) -> ProbeResult:
        return NotYet("connection refused")


def test_an_up_ends_in_time_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = MemoryDependencies(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(memory.services, "probe", Silent(memory).probe)
        request = replace(memory.request, limit_seconds=0.8)
        report = memory.application.up(request, memory.events.append)
    assert report_exit_code(report) is ExitCode.NOT_READY
    assert not report.interrupted
    (problem,) = [it for it in report.problems if it.code == "up-timeout"]
    assert "cannot bring it up within 0.8 s: it was waiting for " in problem.summary
    assert any(line.endswith(": connection refused") for line in problem.detail), problem
    assert memory.application.up(request, memory.events.append).failed == 0
