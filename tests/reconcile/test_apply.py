"""Walking a plan: what goes on, what is skipped, what an interruption leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from algaenv.model.address import Address
from algaenv.model.event import Event, StepEnded
from algaenv.model.outcome import Cancelled, CutShort, Done, FailedStep, Skipped
from algaenv.model.plan import Same
from algaenv.model.probe import Answer, ExtensionProbe, Never, NotYet, Probe, Yes
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Present, Resource
from algaenv.plan.diff import decide_all
from algaenv.plan.order import plan
from algaenv.reconcile.apply import Walker
from algaenv.reconcile.protocols import Broken, Say, Warming
from tests.plan.desk import at, there, want


class Ledger:
    """Hands that write down what they are told, and fail where they are told to."""

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

    def create(self, resource: Resource, say: Say) -> None:
        self._note("create", resource.address)

    def update(self, resource: Resource, seen: Present, say: Say) -> None:
        self._note("update", resource.address)

    def delete(self, address: Address, seen: Present, say: Say) -> None:
        self._note("delete", address)


class Answers:
    """Answers each probe from a list, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def ask(self, probe: Probe) -> Answer:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def warm(self, warming: Warming) -> Answer | Broken:
        raise AssertionError(f"nothing here has a handler: {warming}")


def walker(
    hands: Ledger,
    asker: Answers | None = None,
    events: list[Event] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Walker:
    kinds = ("network", "container", "bucket", "bundle", "release", "volume")
    heard: list[Event] = [] if events is None else events
    return Walker(
        lambda: dict.fromkeys(kinds, hands),
        asker or Answers(Yes()),
        heard.append,
        0.2,
        cancelled,
    )


STORE = want("container/store", "network/main", probed=True)
REDIS = want("container/redis", "network/main")
BUCKET = want("bucket/extensions", "container/store")
ALL = (want("network/main"), STORE, REDIS, BUCKET)


def test_steps_run_in_order_and_all_are_reported() -> None:
    hands = Ledger()
    ended = walker(hands).walk(plan(decide_all(ALL, {})))
    assert hands.calls.index("create network/main") == 0
    assert hands.calls.index("create bucket/extensions") > hands.calls.index(
        "create container/store"
    )
    assert {str(e.step.address) for e in ended} == {str(r.address) for r in ALL}
    assert all(isinstance(e.outcome, Done) for e in ended)


def test_independent_branches_go_on_and_the_rest_is_skipped() -> None:
    hands = Ledger(frozenset({"create container/store"}))
    events: list[Event] = []
    ended = walker(hands, events=events).walk(plan(decide_all(ALL, {})))
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
    hands = Ledger(frozenset({"create network/main"}))
    ended = walker(hands).walk(plan(decide_all(ALL, {})))
    assert {
        str(e.step.address): e.outcome.because for e in ended if isinstance(e.outcome, Skipped)
    } == {
        "container/store": "network/main",
        "container/redis": "network/main",
        "bucket/extensions": "network/main",
    }


def test_a_bug_of_ours_is_an_outcome_and_the_report_survives() -> None:
    hands = Ledger(frozenset({"create container/redis"}), bug=True)
    ended = walker(hands).walk(plan(decide_all(ALL, {})))
    bug = next(e.outcome for e in ended if str(e.step.address) == "container/redis")
    assert isinstance(bug, FailedStep)
    assert bug.problem.code == "unexpected"
    assert bug.problem.summary.endswith("ZeroDivisionError")
    assert any("_note" in line for line in bug.problem.detail)


def test_a_replacement_is_a_removal_and_a_creation() -> None:
    hands = Ledger()
    seen = {at("container/redis"): there("container/redis", inputs={"image": "old"})}
    walker(hands).walk(plan(decide_all([want("container/redis")], seen)))
    assert hands.calls == ["delete container/redis", "create container/redis"]


def test_an_interruption_lets_running_steps_end_and_cancels_the_rest() -> None:
    hands = Ledger()
    stop = threading.Event()
    hands.before = lambda line: stop.set() if line == "create network/main" else None
    ended = walker(hands, cancelled=stop.is_set).walk(plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    assert hands.calls == ["create network/main"]
    assert outcomes.pop("network/main") == Done()
    assert set(outcomes.values()) == {Cancelled()}


def test_an_interruption_cuts_a_wait_short_and_fails_nothing() -> None:
    stop = threading.Event()

    class Slow(Answers):
        def ask(self, probe: Probe) -> Answer:
            stop.set()
            return NotYet("starting")

    events: list[Event] = []
    hands = Ledger()
    ended = walker(hands, Slow(), events, stop.is_set).walk(plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    assert outcomes["container/store"] == CutShort()
    assert outcomes["bucket/extensions"] == Cancelled()
    assert not any(isinstance(it, FailedStep) for it in outcomes.values())
    told = [it for it in events if isinstance(it, StepEnded) and it.step.address == STORE.address]
    assert [(it.outcome, it.problem) for it in told] == [("cut-short", None)]


def test_a_step_is_done_only_when_it_answers() -> None:
    asker = Answers(NotYet("connection refused"), NotYet("starting"), Yes())
    ended = walker(Ledger(), asker).walk(plan(decide_all((want("network/main"), STORE), {})))
    assert all(isinstance(e.outcome, Done) for e in ended)
    assert asker.asked == 3


def test_no_answer_in_time_is_not_ready_with_the_last_answer() -> None:
    asker = Answers(NotYet("connection refused"))
    ended = walker(Ledger(), asker).walk(plan(decide_all(ALL, {})))
    outcomes = {str(e.step.address): e.outcome for e in ended}
    late = outcomes["container/store"]
    assert isinstance(late, FailedStep)
    assert late.error == "NotReady"
    assert "connection refused (waited 0.2 s)" in late.problem.summary
    assert outcomes["bucket/extensions"] == Skipped("container/store")


def test_an_answer_that_can_never_come_fails_at_once() -> None:
    asker = Answers(Never("wrong password", "give the password of the kept volume"))
    ended = walker(Ledger(), asker).walk(plan(decide_all((want("network/main"), STORE), {})))
    refused = ended[-1].outcome
    assert isinstance(refused, FailedStep)
    assert refused.problem.code == "not-answering"
    assert refused.problem.hint == "give the password of the kept volume"
    assert asker.asked == 1


class Ending(Ledger):
    """Hands whose service ends while it is waited for."""

    def evidence(self, address: Address) -> tuple[str, ...] | None:
        return ("exit code 1", "FATAL: no space left")

    def log_of(self, address: Address) -> str:
        return f"/logs/{address.name}.log"


def test_a_service_that_ends_while_it_is_waited_for_fails_with_its_last_lines() -> None:
    asker = Answers(NotYet("connection refused"))
    ended = walker(Ending(), asker).walk(plan(decide_all((want("network/main"), STORE), {})))
    failed = ended[-1].outcome
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "service-ended"
    assert failed.problem.detail == ("exit code 1", "FATAL: no space left")
    assert "all of them in /logs/store.log" in failed.problem.hint
    assert asker.asked == 1


def test_a_service_that_ends_for_a_full_disk_says_so() -> None:
    class Full(Ledger):
        def evidence(self, address: Address) -> tuple[str, ...] | None:
            return ("PANIC:  could not write to file: No space left on device",)

    asker = Answers(NotYet("connection refused"))
    ended = walker(Full(), asker).walk(plan(decide_all((want("network/main"), STORE), {})))
    failed = ended[-1].outcome
    assert isinstance(failed, FailedStep)
    assert failed.problem.code == "disk-full"
    assert "make room" in failed.problem.hint


def test_what_leans_on_an_earlier_walk_is_skipped_with_it() -> None:
    hands = Ledger(frozenset({"create container/store"}))
    first = walker(hands).walk(plan(decide_all((want("network/main"), STORE), {})))
    later = plan(decide_all((BUCKET,), {}), also=frozenset({at("container/store")}))
    ended = walker(hands).walk(later, before=first)
    assert [e.outcome for e in ended] == [Skipped("container/store")]
    assert "create bucket/extensions" not in hands.calls


def test_a_plan_that_only_asks_starts_no_thread() -> None:
    seen = {r.address: there(str(r.address), running=True) for r in ALL}
    before = threading.active_count()
    asker = Answers(Yes())
    ended = walker(Ledger(), asker).walk(plan(decide_all(ALL, seen)))
    assert [str(e.step.address) for e in ended] == ["container/store"]
    assert (asker.asked, threading.active_count()) == (1, before)


def test_an_extension_that_does_not_answer_has_a_code_of_its_own() -> None:
    probe = ExtensionProbe(None, "http://127.0.0.1:1", ("/x",), "", 1.0)
    wanted = replace(want("extension/hello", "release/hello"), probe=probe)
    rows = want("release/hello")
    steps = plan((*decide_all((rows,), {}), Same(wanted)))
    asker = Answers(Never("GET /x answered 500", "mend it", ("stderr: one",)))
    outcomes = {str(e.step.address): e.outcome for e in walker(Ledger(), asker).walk(steps)}
    assert outcomes["release/hello"] == Done()
    failed = outcomes["extension/hello"]
    assert isinstance(failed, FailedStep)
    problem = failed.problem
    assert (problem.code, problem.hint) == ("extension-not-answering", "mend it")
    assert problem.summary == "extension/hello is not ready: GET /x answered 500"
    assert problem.detail == ("stderr: one",)
    ended = walker(Ledger(frozenset({"create release/hello"})), asker).walk(steps)
    assert [e.outcome for e in ended if e.step.address == wanted.address] == [
        Skipped("release/hello")
    ]
