"""Which handlers are prewarmed, how that is reported, and what happens when one cannot run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from algaenv.bundle.digest import Digest
from algaenv.model.address import Address
from algaenv.model.content import BundleSpec
from algaenv.model.event import Done, Ended, Event, FailedStep, Skipped, StepWaiting
from algaenv.model.plan import Plan
from algaenv.model.probe import BrokenHandler, NotYet, PrewarmRequest, Probe, ProbeResult, Yes
from algaenv.model.resource import Observation, Resource
from algaenv.plan.diff import decide_all
from algaenv.plan.order import build_plan
from algaenv.plan.prewarm import PrewarmSelector
from algaenv.reconcile.executor import Executor
from algaenv.reconcile.wait import REPORT_INTERVAL
from tests.plan.builders import make_present, make_resource, parse_address
from tests.reconcile.test_executor import RecordingDriver

RUNNER = "http://127.0.0.1:8085"
DIGEST = Digest.of(b"an archive")


def bundle(name: str) -> Resource:
    body = BundleSpec(
        extension=name,
        bucket="extensions",
        key=f"{name}.tar.zst",
        tenant_id="tenant",
        registry_id=f"registry-of-{name}",
        digest=DIGEST,
        size=1,
        archive="/archive",
    )
    made = make_resource(f"bundle/{name}@abc", "container/runner", probed=True)
    return replace(made, body=body)


def release(name: str) -> Resource:
    return make_resource(f"release/{name}", f"bundle/{name}@abc")


SERVICE = make_resource("container/runner", probed=True)
WANTED = (SERVICE, bundle("a"), release("a"), bundle("b"), release("b"))


def seen(**other: Observation) -> dict[Address, Observation]:
    """All of it is there; `other` says what is different, dots for the slash."""
    found: dict[Address, Observation] = {
        make_resource.address: make_present(
            str(make_resource.address), running=True if make_resource is SERVICE else None
        )
        for make_resource in WANTED
    }
    return found | {parse_address(name.replace("__", "/")): it for name, it in other.items()}


def plan_of(observed: Mapping[Address, Observation]) -> Plan:
    return build_plan(decide_all(WANTED, observed))


def prewarmed(
    observed: Mapping[Address, Observation],
    *,
    handlers: tuple[str, ...] = ("a", "b"),
    runner: str = RUNNER,
    before: tuple[Ended, ...] = (),
) -> set[str]:
    wanted = PrewarmSelector(runner, frozenset(handlers)).requests(plan_of(observed), before)
    return {it.registry_id.removeprefix("registry-of-") for it in wanted.values()}


def test_a_run_with_nothing_to_do_warms_nothing() -> None:
    assert plan_of(seen()).changes == ()
    assert prewarmed(seen()) == set()


def test_a_new_bundle_is_warmed_and_its_neighbour_is_not() -> None:
    observed = seen()
    del observed[parse_address("bundle/a@abc")]
    assert prewarmed(observed) == {"a"}


def test_a_bundle_that_rows_are_about_to_point_to_is_warmed() -> None:
    """The bundle came with an earlier run, which did not get as far as its rows."""
    assert prewarmed(seen(release__a=make_present("release/a", inputs={"of": "another"}))) == {"a"}


def test_all_are_warmed_for_a_new_runner() -> None:
    stopped = seen(container__runner=make_present("container/runner", running=False))
    assert prewarmed(stopped) == {"a", "b"}
    (step,) = (it for it in plan_of(stopped).steps if it.address == SERVICE.address)
    without = seen()
    del without[SERVICE.address]
    content = build_plan(decide_all(WANTED[1:], seen()), also=frozenset({SERVICE.address}))
    found = PrewarmSelector(RUNNER, frozenset({"a"})).requests(content, (Ended(step, Done(), 1.0),))
    assert {str(address) for address in found} == {"bundle/a@abc"}


def test_nothing_is_warmed_without_a_handler_or_by_somebody_elses_runner() -> None:
    assert prewarmed({}, handlers=("b",)) == {"b"}
    assert prewarmed({}, runner="") == set()


def test_what_the_runner_is_asked() -> None:
    found = PrewarmSelector(RUNNER, frozenset({"a"})).requests(plan_of({}))
    assert list(found.values()) == [
        PrewarmRequest(RUNNER, "tenant", "registry-of-a", DIGEST.prefixed)
    ]


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
    prober: PrewarmProber, events: list[Event] | None = None, seconds: float = 5.0
) -> dict[str, object]:
    recorded: list[Event] = [] if events is None else events
    drivers = dict.fromkeys(("container", "bundle", "release"), RecordingDriver())
    prewarm = PrewarmSelector(RUNNER, frozenset({"a", "b"}))
    executor = Executor(lambda: drivers, prober, recorded.append, seconds, prewarm=prewarm)
    return {str(it.step.address): it.outcome for it in executor.execute(plan_of({}))}


def test_one_after_the_other() -> None:
    prober = PrewarmProber(NotYet("busy"), Yes())
    outcomes = execute(prober)
    assert set(outcomes.values()) == {Done()}
    assert sorted(it.registry_id for it in prober.asked)[:: len(prober.asked) - 1] == [
        "registry-of-a",
        "registry-of-b",
    ]
    assert (len(prober.asked), prober.most) == (3, 1)


def test_a_handler_that_cannot_run_is_never_installed() -> None:
    broken = BrokenHandler(
        "component imports instance `alga:extension/xyz`", "build it anew", ("outer", "inner")
    )
    outcomes = execute(PrewarmProber(broken))
    failed = outcomes["bundle/a@abc"]
    assert isinstance(failed, FailedStep)
    problem = failed.problem
    assert (problem.code, failed.error) == ("handler-broken", "Failed")
    assert problem.summary.startswith("bundle/a@abc is not ready: its handler cannot run")
    assert "alga:extension/xyz" in problem.summary
    assert problem.hint == "build it anew"
    assert problem.detail == ("outer", "inner")
    assert outcomes["release/a"] == Skipped("bundle/a@abc")


def test_a_runner_that_never_warms_it_is_not_ready() -> None:
    outcomes = execute(PrewarmProber(NotYet("answered 503")), seconds=0.1)
    failed = outcomes["bundle/b@abc"]
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "not-ready"
    assert "answered 503 (waited 0.1 s)" in failed.problem.summary


def test_one_question_may_take_all_the_time_there_is() -> None:
    prober = PrewarmProber(Yes())
    execute(prober, seconds=600.0)
    assert all(590.0 < it.seconds <= 600.0 for it in prober.asked)


def test_the_watcher_hears_what_is_waited_for() -> None:
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
    prewarm = PrewarmSelector(RUNNER, frozenset({"a"}))
    Executor(lambda: drivers, prober, listen, 5.0, prewarm=prewarm).execute(plan_of({}))
    (waiting,) = {event.last for event in events if isinstance(event, StepWaiting)}
    assert waiting == "its handler is being compiled"


def test_an_interrupted_run_does_not_begin_to_warm() -> None:
    prober = PrewarmProber(Yes())
    drivers = dict.fromkeys(("container", "bundle", "release"), RecordingDriver())
    stop = threading.Event()
    drivers["bundle"].before = lambda line: stop.set()
    prewarm = PrewarmSelector(RUNNER, frozenset({"a", "b"}))
    executor = Executor(lambda: drivers, prober, lambda _: None, 5.0, stop.is_set, prewarm)
    executor.execute(plan_of({}))
    assert prober.asked == []
