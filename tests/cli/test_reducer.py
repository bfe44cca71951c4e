"""Events fold into what a watcher knows, whatever order they come in."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from algaenv.cli.output.reducer import Phase, RunState, reduce
from algaenv.model.event import Event, Planned, StepEnded, StepProgress, StepStarted, StepWaiting
from algaenv.model.plan import Step, Verb
from tests.cli.event_samples import (
    FAILURE,
    MISSING,
    NETWORK,
    OPENING,
    PAGE,
    RELEASE,
    STEPS,
    STORE,
    SUCCESS,
)
from tests.cli.fake_application import BROKEN, WARNING
from tests.plan.builders import parse_address


def after(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """The nth event is heard at n seconds."""
    numbered = enumerate(events)
    return functools.reduce(
        lambda s, e: reduce(s, e[1], float(e[0])), numbered, state or RunState()
    )


def phases(state: RunState) -> dict[str, str]:
    return {str(row.address): str(row.phase) for row in state.rows}


def test_in_the_middle_of_a_run() -> None:
    state = after(OPENING)
    assert (state.runtime, state.why) == ("docker", "auto: Docker engine 28.5 answers")
    assert state.warnings == (WARNING,)
    assert [(s.subject, s.note, s.answer, s.seconds) for s in state.resolving] == [
        ("bundle/hello", "compiling", "1a2b3c4d5e6f, 5120 bytes", 1.8)
    ]
    assert phases(state) == {
        "network/main": "done",
        "container/store": "running",
        "release/hello": "waiting",
        "install/hello": "waiting",
    }
    store = state.row(STORE.address)
    assert store is not None
    assert (store.note, store.started) == ("connection refused", 8.0)


def test_what_waits_knows_what_for() -> None:
    state = after(OPENING)
    holders = {str(row.address): state.blocked_on(row) for row in state.rows}
    assert {name: str(held.address) if held else None for name, held in holders.items()} == {
        "network/main": None,
        "container/store": None,
        "release/hello": "container/store",
        "install/hello": "release/hello",
    }


def test_what_was_skipped_knows_the_failure_at_its_root() -> None:
    state = after((*OPENING, *FAILURE))
    page = state.row(PAGE.address)
    assert page is not None
    root = state.blocked_on(page)
    assert root is not None
    assert (root.address, root.phase, root.problem) == (STORE.address, Phase.FAILED, BROKEN)
    assert (state.count(Phase.SKIPPED), state.count(Phase.FAILED)) == (2, 1)


def test_at_the_end_every_step_is_over_and_the_report_is_there() -> None:
    state = after((*OPENING, *SUCCESS))
    assert all(row.phase is Phase.DONE for row in state.rows)
    assert state.report is not None
    assert state.report.changed == 3


def test_a_newer_plan_replaces_only_what_had_not_begun() -> None:
    other = Step(Verb.CREATE, parse_address("bucket/extensions"), MISSING, frozenset())
    state = reduce(after(OPENING), Planned((other, NETWORK, RELEASE)), 20.0)
    assert phases(state) == {
        "network/main": "done",
        "container/store": "running",
        "bucket/extensions": "waiting",
        "release/hello": "waiting",
    }
    for position, row in enumerate(state.rows):
        assert state.index[row.address] == position


def test_a_step_that_no_plan_announced_gets_a_row() -> None:
    state = after((StepStarted(STORE), StepEnded(STORE, "done", 0.5)))
    assert phases(state) == {"container/store": "done"}
    assert phases(after((StepEnded(STORE, "cancelled", 0.0),))) == {"container/store": "cancelled"}


def test_notes_for_what_does_not_run_are_dropped() -> None:
    state = after((Planned(STEPS), StepEnded(NETWORK, "done", 0.1)))
    noted = after(
        (
            StepProgress(NETWORK.address, "late"),
            StepWaiting(STORE.address, "early", 1.0),
            StepProgress(parse_address("no/where"), "lost"),
        ),
        state,
    )
    assert noted == state


def test_folding_changes_no_earlier_state() -> None:
    before = after(OPENING)
    kept = (before.rows, before.resolving, dict(before.index))
    after(FAILURE, before)
    assert (before.rows, before.resolving, dict(before.index)) == kept


def test_a_thousand_extensions_fold_quickly() -> None:
    steps = [
        Step(Verb.CREATE, parse_address(f"bundle/e{n}"), MISSING, frozenset()) for n in range(5000)
    ]
    events = [Planned(tuple(steps))]
    state = after([*events, *(StepStarted(s) for s in steps)])
    state = after([StepEnded(s, "done", 0.1) for s in steps], state)
    assert state.count(Phase.DONE) == 5000
