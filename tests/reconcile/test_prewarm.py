"""Which handlers are prewarmed, how that is reported, and what happens when one cannot run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Endpoint, Manifest
from algaenv.model.event import (
    Cancelled,
    Done,
    Event,
    FailedStep,
    Skipped,
    StepEnded,
    StepStarted,
    StepWaiting,
)
from algaenv.model.intent import ExtensionIntent, NamedImage, PullRef
from algaenv.model.kind import Address
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.plan import Plan, Verb
from algaenv.model.probe import BrokenHandler, NotYet, PrewarmRequest, Probe, ProbeResult, Yes
from algaenv.model.problem import Where
from algaenv.model.resource import Observation, Resource
from algaenv.plan.desired import desired_content, predicted_ids
from algaenv.plan.diff import decide_all
from algaenv.plan.order import build_plan
from algaenv.plan.prewarm import prewarms
from algaenv.reconcile.executor import Executor
from algaenv.reconcile.wait import REPORT_INTERVAL
from tests.plan.builders import make_present, make_resource, parse_address
from tests.reconcile.test_executor import RecordingDriver
from tests.runtimes.locks import make_lock

DIGEST = Digest.of(b"an archive")
A, B = (f"{name}@{DIGEST.short}" for name in "ab")
RUNNER = make_resource("container/runner", probed=True)
HOSTS = {"runner": RUNNER.address}


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    return replace(make_lock(tmp_path), extensions=(extension("a"), extension("b")))


def extension(name: str, runtime: str = "wasm-js@1", **manifest: object) -> LockedExtension:
    where = Where("algaenv.yaml", 1, 1)
    intent = ExtensionIntent(name, "/source", None, {}, {}, None, True, None, where)
    described = Manifest(name=name, publisher="Example", version="1.0.0", runtime=runtime)
    described = replace(described, **manifest)  # type: ignore[arg-type]
    return LockedExtension(intent, described, DIGEST, 1, Path("/archive"), "ab" * 32)


def wanted(lock: Lock) -> tuple[Resource, ...]:
    content = desired_content(lock, predicted_ids(lock), HOSTS)
    return (RUNNER, *(it for it in content if it.address.kind in ("bundle", "release")))


def seen(lock: Lock, **other: Observation) -> dict[Address, Observation]:
    """All of it is there; `other` says what is different, with two underscores for the slash."""
    found: dict[Address, Observation] = {
        it.address: make_present(
            str(it.address), inputs=it.inputs, running=True if it is RUNNER else None
        )
        for it in wanted(lock)
    }
    return found | {parse_address(name.replace("__", "/")): it for name, it in other.items()}


def plan_of(
    lock: Lock, observed: dict[Address, Observation], written: frozenset[Address] = frozenset()
) -> Plan:
    """The plan, where an earlier execution has written `written`."""
    every = decide_all(wanted(lock), observed)
    written |= {step.address for step in build_plan(every).changes}
    return build_plan((*every, *prewarms(lock, every, HOSTS, written)))


def prewarmed(plan: Plan) -> list[str]:
    return [f"{s.address}: {s.cause}" for s in plan.steps if s.verb is Verb.PREWARM]


def test_a_run_with_nothing_to_do_warms_nothing(lock: Lock) -> None:
    plan = plan_of(lock, seen(lock))
    assert (plan.actions, prewarmed(plan)) == ((), [])


def test_a_new_bundle_is_warmed_and_its_neighbour_is_not(lock: Lock) -> None:
    observed = seen(lock)
    del observed[parse_address(f"bundle/{A}")]
    plan = plan_of(lock, observed)
    assert str(plan) == (f"create bundle/{A}: missing\nprewarm handler/{A}: bundle changes")
    (step,) = (it for it in plan.steps if it.verb is Verb.PREWARM)
    assert {str(it) for it in step.needs} == {f"bundle/{A}", "container/runner"}


def test_a_bundle_that_rows_are_about_to_point_to_is_warmed(lock: Lock) -> None:
    """The bundle came with an earlier run, which did not get as far as its rows."""
    stale = make_present("release/a", inputs={"bundle": "another"})
    plan = plan_of(lock, seen(lock, release__a=stale))
    assert prewarmed(plan) == [f"handler/{A}: release changes"]
    (rows,) = plan.changes
    assert {str(it) for it in rows.needs} == {f"bundle/{A}", f"handler/{A}"}


def test_all_are_warmed_for_a_new_runner(lock: Lock) -> None:
    stopped = seen(lock, container__runner=make_present("container/runner", running=False))
    causes = [f"handler/{A}: runner changes", f"handler/{B}: runner changes"]
    assert prewarmed(plan_of(lock, stopped)) == causes
    assert prewarmed(plan_of(lock, seen(lock), frozenset({RUNNER.address}))) == causes


def test_an_old_bundle_goes_only_after_the_handler_is_ready(lock: Lock) -> None:
    observed = seen(lock)
    observed[parse_address("bundle/a@old")] = make_present("bundle/a@old")
    del observed[parse_address(f"bundle/{A}")]
    plan = plan_of(lock, observed)
    (old,) = (it for it in plan.steps if str(it.address) == "bundle/a@old")
    assert {f"bundle/{A}", f"handler/{A}"} <= {str(it) for it in old.needs}


def test_nothing_is_warmed_without_a_handler_or_by_somebody_elses_runner(lock: Lock) -> None:
    page_only = replace(lock, extensions=(extension("a", "ui-only@1"), extension("b")))
    assert prewarmed(plan_of(page_only, {})) == [f"handler/{B}: bundle changes"]
    endpoint = (Endpoint("GET", "/", "handler"),)
    both = replace(lock, extensions=(extension("a", "ui-only@1", endpoints=endpoint),))
    assert prewarmed(plan_of(both, {})) == [f"handler/{A}: bundle changes"]
    runner = replace(lock.intent.runner, image=NamedImage(PullRef(("example.com/runner",), "1")))
    theirs = replace(lock, intent=replace(lock.intent, runner=runner))
    assert prewarmed(plan_of(theirs, {})) == []


def test_what_the_runner_is_asked(lock: Lock) -> None:
    ids = predicted_ids(lock)
    (first, _) = (it.resource for it in plan_of(lock, {}).steps if it.verb is Verb.PREWARM)
    assert first is not None
    assert first.body == PrewarmRequest(
        f"http://127.0.0.1:{lock.ports.runner}",
        ids.tenant_id,
        ids.registry["a"],
        DIGEST.prefixed,
        f"bundle/{A}",
        lock.credentials.service_token.reveal(),
    )


class PrewarmProber:
    """Succeeds at once, returns the given prewarm results, and counts concurrent requests."""

    def __init__(self, *answers: ProbeResult | BrokenHandler) -> None:
        self.answers = list(answers)
        self.most = self.now = 0
        self.asked: list[PrewarmRequest] = []
        self.during: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def probe(self, probe: Probe) -> ProbeResult:
        return Yes()

    def prewarm(self, warming: PrewarmRequest) -> ProbeResult | BrokenHandler:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.asked.append(warming)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.during()
        with self._lock:
            self.now -= 1
        return answer


def execute(
    lock: Lock, prober: PrewarmProber, events: list[Event] | None = None, seconds: float = 5.0
) -> dict[str, object]:
    recorded: list[Event] = [] if events is None else events
    drivers = dict.fromkeys(("container", "bundle", "release"), RecordingDriver())
    executor = Executor(lambda: drivers, prober, recorded.append, seconds)
    return {str(it.step.address): it.outcome for it in executor.execute(plan_of(lock, {}))}


def test_one_after_the_other(lock: Lock) -> None:
    prober = PrewarmProber(NotYet("busy"), Yes())
    outcomes = execute(lock, prober)
    assert set(outcomes.values()) == {Done()}
    assert {it.bundle for it in prober.asked} == {f"bundle/{A}", f"bundle/{B}"}
    assert (len(prober.asked), prober.most) == (3, 1)


def test_a_handler_that_cannot_run_is_never_installed(lock: Lock) -> None:
    broken = BrokenHandler(
        "component imports instance `alga:extension/xyz`", "build it anew", ("outer", "inner")
    )
    outcomes = execute(lock, PrewarmProber(broken))
    failed = outcomes[f"handler/{A}"]
    assert isinstance(failed, FailedStep)
    problem = failed.problem
    assert (problem.code, failed.error) == ("handler-broken", "Failed")
    assert problem.summary.startswith(f"bundle/{A} is not ready: its handler cannot run")
    assert "alga:extension/xyz" in problem.summary
    assert problem.hint == "build it anew"
    assert problem.detail == ("outer", "inner")
    assert outcomes["release/a"] == Skipped(f"handler/{A}")


def test_a_runner_that_never_warms_it_is_not_ready(lock: Lock) -> None:
    outcomes = execute(lock, PrewarmProber(NotYet("answered 503")), seconds=0.1)
    failed = outcomes[f"handler/{B}"]
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "not-ready"
    assert "answered 503 (waited 0.1 s)" in failed.problem.summary


def test_one_question_may_take_all_the_time_there_is(lock: Lock) -> None:
    prober = PrewarmProber(Yes())
    execute(lock, prober, seconds=600.0)
    assert all(590.0 < it.seconds <= 600.0 for it in prober.asked)


def test_the_watcher_hears_what_is_waited_for(lock: Lock) -> None:
    events: list[Event] = []
    reported = threading.Event()
    prober = PrewarmProber(Yes())

    def wait_for_report() -> None:
        assert reported.wait(10 * REPORT_INTERVAL)

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepWaiting):
            reported.set()

    prober.during = wait_for_report
    drivers = dict.fromkeys(("container", "bundle", "release"), RecordingDriver())
    Executor(lambda: drivers, prober, listen, 5.0).execute(plan_of(lock, {}))
    (waiting,) = {event.last for event in events if isinstance(event, StepWaiting)}
    assert waiting == "its handler is being compiled"


def test_an_interrupted_run_does_not_begin_to_warm(lock: Lock) -> None:
    prober = PrewarmProber(Yes())
    drivers = dict.fromkeys(("container", "bundle", "release"), RecordingDriver())
    stop = threading.Event()
    drivers["bundle"].before = lambda line: stop.set()
    executor = Executor(lambda: drivers, prober, lambda _: None, 5.0, stop.is_set)
    ended = executor.execute(plan_of(lock, {}))
    assert prober.asked == []
    handlers = {it.outcome for it in ended if it.step.verb is Verb.PREWARM}
    assert handlers == {Cancelled()}


def test_a_prewarm_is_a_step_with_events_of_its_own(lock: Lock) -> None:
    events: list[Event] = []
    execute(lock, PrewarmProber(Yes()), events)
    steps = [it for it in events if isinstance(it, StepStarted | StepEnded)]
    names = [type(it).__name__ for it in steps if str(it.step.address) == f"handler/{A}"]
    assert names == ["StepStarted", "StepEnded"]


def test_handlers_that_wait_for_their_turn_keep_no_other_step_back(tmp_path: Path) -> None:
    """More handlers than worker threads: the rows of one without a handler go on meanwhile."""
    many = tuple(extension(f"e{number:02}") for number in range(12))
    lock = replace(make_lock(tmp_path), extensions=(*many, extension("z", "ui-only@1")))
    released = threading.Event()
    prober = PrewarmProber(Yes())
    prober.during = lambda: released.wait(30)

    def listen(event: Event) -> None:
        if isinstance(event, StepEnded) and str(event.step.address) == "release/z":
            released.set()

    drivers = dict.fromkeys(("container", "bundle", "release"), RecordingDriver())
    ended = Executor(lambda: drivers, prober, listen, 60.0).execute(plan_of(lock, {}))
    assert released.is_set()
    assert {it.outcome for it in ended} == {Done()}
    assert (len(prober.asked), prober.most) == (12, 1)


def test_a_plan_of_waits_and_prewarms_runs_them_in_threads(lock: Lock) -> None:
    """The runner was created by an earlier execution, and nothing else changes."""
    plan = plan_of(lock, seen(lock), frozenset({RUNNER.address}))
    assert (plan.changes, len(plan.actions)) == ((), 2)
    prober = PrewarmProber(Yes())
    ended = Executor(dict, prober, lambda _: None, 5.0).execute(plan)
    assert {it.outcome for it in ended} == {Done()}
    assert len(prober.asked) == 2
