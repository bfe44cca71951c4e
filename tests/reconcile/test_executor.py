"""Executing a plan: parallel steps, skipped steps, interruptions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from algaenv.model.event import (
    Cancelled,
    CutShort,
    Done,
    Event,
    FailedStep,
    Planned,
    Skipped,
    StepEnded,
)
from algaenv.model.kind import Address
from algaenv.model.plan import Plan, Same
from algaenv.model.probe import (
    BrokenHandler,
    ExtensionProbe,
    Never,
    NotYet,
    PrewarmRequest,
    Probe,
    ProbeResult,
    Yes,
)
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Present, Resource
from algaenv.plan.diff import decide_all
from algaenv.plan.order import build_plan
from algaenv.reconcile.executor import Continuation, Executor
from algaenv.reconcile.protocols import OnProgress
from tests.plan.builders import make_present, make_resource, parse_address


class RecordingDriver:
    """Records its calls, and fails those in `failing`."""

    def __init__(self, failing: frozenset[str] = frozenset(), bug: bool = False) -> None:
        self.calls: list[str] = []
        self.failing = failing
        self.bug = bug
        self.before: Callable[[str], None] = lambda _line: None

    def _note(self, verb: str, address: Address) -> None:
        line = f"{verb} {address}"
        self.before(line)
        self.calls.append(line)
        if line in self.failing:
            if self.bug:
                raise ZeroDivisionError("division by zero")
            raise Conflict(Problem("port-taken", f"cannot {line}"))

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        self._note("create", resource.address)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        self._note("update", resource.address)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        self._note("delete", address)


class ScriptedProber:
    """Returns results from a list, the last one repeatedly."""

    def __init__(self, *answers: ProbeResult) -> None:
        self.answers = list(answers)
        self.asked = 0

    def probe(self, probe: Probe) -> ProbeResult:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def prewarm(self, warming: PrewarmRequest) -> ProbeResult | BrokenHandler:
        raise AssertionError(f"nothing here has a handler: {warming}")


def executor(
    drivers: RecordingDriver,
    prober: ScriptedProber | None = None,
    events: list[Event] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Executor:
    kinds = ("network", "container", "bucket", "bundle", "release", "volume")
    recorded: list[Event] = [] if events is None else events
    return Executor(
        lambda: dict.fromkeys(kinds, drivers),
        prober or ScriptedProber(Yes()),
        recorded.append,
        0.2,
        cancelled,
    )


STORE = make_resource("container/store", "network/main", probed=True)
REDIS = make_resource("container/redis", "network/main")
BUCKET = make_resource("bucket/extensions", "container/store")
ALL = (make_resource("network/main"), STORE, REDIS, BUCKET)


def test_steps_run_in_order_and_all_are_reported() -> None:
    drivers = RecordingDriver()
    ended = executor(drivers).execute(build_plan(decide_all(ALL, {})))
    assert drivers.calls.index("create network/main") == 0
    assert drivers.calls.index("create bucket/extensions") > drivers.calls.index(
        "create container/store"
    )
    assert {str(e.step.address) for e in ended} == {str(r.address) for r in ALL}
    assert all(isinstance(e.outcome, Done) for e in ended)


def test_independent_branches_go_on_and_the_rest_is_skipped() -> None:
    drivers = RecordingDriver(frozenset({"create container/store"}))
    events: list[Event] = []
    ended = executor(drivers, events=events).execute(build_plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    failed = outcomes["container/store"]
    assert isinstance(failed, FailedStep)
    assert (failed.error, failed.problem.code) == ("Conflict", "port-taken")
    assert outcomes["bucket/extensions"] == Skipped("container/store")
    assert outcomes["container/redis"] == Done()
    words = {str(e.step.address): e.outcome for e in events if isinstance(e, StepEnded)}
    assert words == {
        "network/main": "done",
        "container/redis": "done",
        "container/store": "failed",
        "bucket/extensions": "skipped",
    }


def test_a_skip_names_the_failure_it_goes_back_to() -> None:
    drivers = RecordingDriver(frozenset({"create network/main"}))
    ended = executor(drivers).execute(build_plan(decide_all(ALL, {})))
    assert {
        str(e.step.address): e.outcome.because for e in ended if isinstance(e.outcome, Skipped)
    } == {
        "container/store": "network/main",
        "container/redis": "network/main",
        "bucket/extensions": "network/main",
    }


def test_a_bug_of_ours_is_an_outcome_and_the_report_survives() -> None:
    drivers = RecordingDriver(frozenset({"create container/redis"}), bug=True)
    ended = executor(drivers).execute(build_plan(decide_all(ALL, {})))
    bug = next(e.outcome for e in ended if str(e.step.address) == "container/redis")
    assert isinstance(bug, FailedStep)
    assert bug.problem.code == "unexpected"
    assert bug.problem.summary.endswith("ZeroDivisionError")
    assert any("_note" in line for line in bug.problem.detail)


def test_a_replacement_is_a_removal_and_a_creation() -> None:
    drivers = RecordingDriver()
    seen = {
        parse_address("container/redis"): make_present("container/redis", inputs={"image": "old"})
    }
    executor(drivers).execute(build_plan(decide_all([make_resource("container/redis")], seen)))
    assert drivers.calls == ["delete container/redis", "create container/redis"]


def test_an_interruption_lets_running_steps_end_and_cancels_the_rest() -> None:
    drivers = RecordingDriver()
    stop = threading.Event()
    drivers.before = lambda line: stop.set() if line == "create network/main" else None
    ended = executor(drivers, cancelled=stop.is_set).execute(build_plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    assert drivers.calls == ["create network/main"]
    assert outcomes.pop("network/main") == Done()
    assert set(outcomes.values()) == {Cancelled()}


def test_an_interruption_cuts_a_wait_short_and_fails_nothing() -> None:
    stop = threading.Event()

    class Slow(ScriptedProber):
        def probe(self, probe: Probe) -> ProbeResult:
            stop.set()
            return NotYet("starting")

    events: list[Event] = []
    drivers = RecordingDriver()
    ended = executor(drivers, Slow(), events, stop.is_set).execute(build_plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    assert outcomes["container/store"] == CutShort()
    assert outcomes["bucket/extensions"] == Cancelled()
    assert not any(isinstance(it, FailedStep) for it in outcomes.values())
    ended_events = [
        it for it in events if isinstance(it, StepEnded) and it.step.address == STORE.address
    ]
    assert [(it.outcome, it.problem) for it in ended_events] == [("cut-short", None)]


def test_a_step_is_done_only_when_it_answers() -> None:
    prober = ScriptedProber(NotYet("connection refused"), NotYet("starting"), Yes())
    ended = executor(RecordingDriver(), prober).execute(
        build_plan(decide_all((make_resource("network/main"), STORE), {}))
    )
    assert all(isinstance(e.outcome, Done) for e in ended)
    assert prober.asked == 3


def test_no_answer_in_time_is_not_ready_with_the_last_answer() -> None:
    prober = ScriptedProber(NotYet("connection refused"))
    ended = executor(RecordingDriver(), prober).execute(build_plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    late = outcomes["container/store"]
    assert isinstance(late, FailedStep)
    assert late.error == "NotReady"
    assert "connection refused (waited 0.2 s)" in late.problem.summary
    assert outcomes["bucket/extensions"] == Skipped("container/store")


def test_an_answer_that_can_never_come_fails_at_once() -> None:
    prober = ScriptedProber(Never("wrong password", "give the password of the kept volume"))
    ended = executor(RecordingDriver(), prober).execute(
        build_plan(decide_all((make_resource("network/main"), STORE), {}))
    )
    refused = ended[-1].outcome
    assert isinstance(refused, FailedStep)
    assert refused.problem.code == "not-answering"
    assert refused.problem.hint == "give the password of the kept volume"
    assert prober.asked == 1


class EndedServiceDriver(RecordingDriver):
    """A driver whose service ends during a wait."""

    def diagnostics(self, address: Address) -> tuple[str, ...] | None:
        return ("exit code 1", "FATAL: no space left")

    def log_location(self, address: Address) -> str:
        return f"/logs/{address.name}.log"


def test_a_service_that_ends_while_it_is_waited_for_fails_with_its_last_lines() -> None:
    prober = ScriptedProber(NotYet("connection refused"))
    ended = executor(EndedServiceDriver(), prober).execute(
        build_plan(decide_all((make_resource("network/main"), STORE), {}))
    )
    failed = ended[-1].outcome
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "service-ended"
    assert failed.problem.detail == ("exit code 1", "FATAL: no space left")
    assert "all of them in /logs/store.log" in failed.problem.hint
    assert prober.asked == 1


def test_a_service_that_ends_for_a_full_disk_says_so() -> None:
    class Full(RecordingDriver):
        def diagnostics(self, address: Address) -> tuple[str, ...] | None:
            return ("PANIC:  could not write to file: No space left on device",)

    prober = ScriptedProber(NotYet("connection refused"))
    ended = executor(Full(), prober).execute(
        build_plan(decide_all((make_resource("network/main"), STORE), {}))
    )
    failed = ended[-1].outcome
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "disk-full"
    assert "make room" in failed.problem.hint


def test_what_leans_on_an_earlier_walk_is_skipped_with_it() -> None:
    drivers = RecordingDriver(frozenset({"create container/store"}))
    first = executor(drivers).execute(
        build_plan(decide_all((make_resource("network/main"), STORE), {}))
    )
    later = build_plan(
        decide_all((BUCKET,), {}), also=frozenset({parse_address("container/store")})
    )
    ended = executor(drivers).execute(later, before=first)
    assert [e.outcome for e in ended] == [Skipped("container/store")]
    assert "create bucket/extensions" not in drivers.calls


def test_a_plan_that_only_asks_starts_no_thread() -> None:
    seen = {r.address: make_present(str(r.address), running=True) for r in ALL}
    before = threading.active_count()
    prober = ScriptedProber(Yes())
    ended = executor(RecordingDriver(), prober).execute(build_plan(decide_all(ALL, seen)))
    assert [str(e.step.address) for e in ended] == ["container/store"]
    assert (prober.asked, threading.active_count()) == (1, before)


def test_an_extension_that_does_not_answer_has_a_code_of_its_own() -> None:
    probe = ExtensionProbe(None, "http://127.0.0.1:1", ("/x",), "", 1.0)
    wanted = replace(make_resource("extension/hello", "release/hello"), probe=probe)
    rows = make_resource("release/hello")
    steps = build_plan((*decide_all((rows,), {}), Same(wanted)))
    prober = ScriptedProber(Never("GET /x answered 500", "mend it", ("stderr: one",)))
    outcomes = {
        str(e.step.address): e.outcome for e in executor(RecordingDriver(), prober).execute(steps)
    }
    assert outcomes["release/hello"] == Done()
    failed = outcomes["extension/hello"]
    assert isinstance(failed, FailedStep)
    problem = failed.problem
    assert (problem.code, problem.hint) == ("extension-not-answering", "mend it")
    assert problem.summary == "extension/hello is not ready: GET /x answered 500"
    assert problem.detail == ("stderr: one",)
    ended = executor(RecordingDriver(frozenset({"create release/hello"})), prober).execute(steps)
    assert [e.outcome for e in ended if e.step.address == wanted.address] == [
        Skipped("release/hello")
    ]


GATEWAY = make_resource("container/gateway", "container/redis")
PAGE = make_resource("release/hello", "bucket/extensions", "container/gateway")


def test_what_can_be_planned_later_is_done_beside_what_still_runs() -> None:
    """The gateway is created only once the content is: no service waits for another's content."""
    drivers = RecordingDriver()
    bucket_created = threading.Event()

    def before(line: str) -> None:
        if line == "create container/gateway":
            assert bucket_created.wait(30)
        if line == "create bucket/extensions":
            bucket_created.set()

    drivers.before = before
    events: list[Event] = []
    substrate = build_plan(decide_all((make_resource("network/main"), STORE, REDIS, GATEWAY), {}))
    known = frozenset(it.address for it in substrate.steps)

    def plan() -> Plan:
        assert "create container/store" in drivers.calls
        return build_plan(decide_all((BUCKET, PAGE), {}), also=known)

    then = Continuation(frozenset({STORE.address}), plan)
    ended = executor(drivers, events=events).execute(substrate, then=then)
    assert {it.outcome for it in ended} == {Done()}
    assert drivers.calls[-1] == "create release/hello"
    (planned,) = (it for it in events if isinstance(it, Planned))
    assert [str(it.address) for it in planned.steps][-2:] == ["bucket/extensions", "release/hello"]
    assert len(ended) == 6


def test_a_plan_that_was_shown_already_is_not_announced_again() -> None:
    events: list[Event] = []
    later = build_plan(decide_all((BUCKET,), {}), also=frozenset({STORE.address}))
    then = Continuation(frozenset({STORE.address}), lambda: later, later.steps)
    executor(RecordingDriver(), events=events).execute(
        build_plan(decide_all((STORE,), {})), then=then
    )
    assert not any(isinstance(it, Planned) for it in events)


def test_nothing_is_planned_later_where_a_host_fails_or_the_run_is_interrupted() -> None:
    def plan() -> Plan:
        raise AssertionError("the host does not answer")

    then = Continuation(frozenset({STORE.address}), plan)
    steps = build_plan(decide_all((STORE,), {}))
    failing = RecordingDriver(frozenset({"create container/store"}))
    (failed,) = executor(failing).execute(steps, then=then)
    assert isinstance(failed.outcome, FailedStep)
    stop = threading.Event()
    drivers = RecordingDriver()
    drivers.before = lambda _line: stop.set()
    (done,) = executor(drivers, cancelled=stop.is_set).execute(steps, then=then)
    assert done.outcome == Done()
