"""Plans compared as text: what waits for what."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from algaenv.model.event import Done, Ended
from algaenv.model.plan import Plan, Verb
from algaenv.model.probe import Yes
from algaenv.model.resource import Absent, Observation
from algaenv.plan.diff import decide_all, decide_destroy
from algaenv.plan.order import build_plan, retain_recent
from algaenv.reconcile.executor import Executor
from tests.plan.builders import make_present, make_resource, parse_address

NEW, OLD, OLDER = "bundle/hello@new", "bundle/hello@old", "bundle/hello@older"


def needs(plan: Plan, address: str) -> set[str]:
    step = next(s for s in plan.steps if s.address == parse_address(address))
    return {str(need) for need in step.needs}


def edited(keep: int) -> Plan:
    """An extension whose page was edited; two older bundles are there."""
    wanted = [
        make_resource(NEW, probed=True),
        make_resource("release/hello", NEW, inputs={"bundle": "new"}),
    ]
    seen: dict[str, Observation] = {
        NEW: Absent(),
        OLD: make_present(OLD, note="2026-01-02"),
        OLDER: make_present(OLDER, note="2026-01-01"),
        "release/hello": make_present("release/hello", inputs={"bundle": "old"}),
    }
    by_address = {parse_address(k): v for k, v in seen.items()}
    decisions = decide_all(wanted, by_address)
    return build_plan(retain_recent(decisions, by_address, ["hello"], keep))


def test_an_edited_extension_is_created_switched_and_then_the_oldest_is_collected() -> None:
    plan = edited(keep=1)
    assert str(plan) == (
        "create bundle/hello@new: missing\n"
        "update release/hello: spec changed: bundle old → new\n"
        "delete bundle/hello@older: superseded: older than the 1 kept for a rollback"
    )
    assert needs(plan, "release/hello") == {NEW}
    assert needs(plan, OLDER) == {NEW, "release/hello"}


def test_nothing_older_is_kept_when_told_so() -> None:
    assert [str(s.address) for s in edited(keep=0).changes][2:] == [OLD, OLDER]


def test_going_back_to_an_earlier_bundle_keeps_the_one_that_served_last() -> None:
    wanted = [
        make_resource(OLDER),
        make_resource("release/hello", OLDER, inputs={"bundle": "older"}),
    ]
    seen = {
        parse_address(OLDER): make_present(OLDER, note="2026-01-01"),
        parse_address(OLD): make_present(OLD, note="2026-01-02"),
        parse_address("release/hello"): make_present("release/hello", inputs={"bundle": "old"}),
    }
    plan = build_plan(retain_recent(decide_all(wanted, seen), seen, ["hello"], 1))
    assert [str(s.address) for s in plan.changes] == ["release/hello"]


def test_bundles_of_an_extension_that_is_gone_are_not_spared() -> None:
    seen = {
        parse_address(OLD): make_present(OLD),
        parse_address("release/hello"): make_present("release/hello"),
    }
    plan = build_plan(retain_recent(decide_all([], seen), seen, [], 1))
    assert str(plan) == (
        "delete release/hello: no longer in the spec\n"
        "delete bundle/hello@old: no longer in the spec"
    )
    assert needs(plan, OLD) == {"release/hello"}


def test_down_empties_hosts_before_it_stops_them() -> None:
    addresses = [
        "release/hello",
        OLD,
        "container/store",
        "container/database",
        "container/redis",
        "container/runner",
        "network/main",
        "volume/store",
    ]
    seen = {parse_address(a): make_present(a, retained=a.startswith("volume")) for a in addresses}
    plan = build_plan(decide_destroy(seen, data_goes=True))
    assert needs(plan, "container/store") == {"release/hello", OLD}
    assert needs(plan, "container/database") == {"release/hello", OLD}
    assert needs(plan, "container/redis") == set()
    assert needs(plan, "container/runner") == set()
    assert needs(plan, "volume/store") == {"container/store"}
    assert needs(plan, "network/main") >= {f"container/{n}" for n in ("store", "redis", "runner")}


def test_what_stays_the_same_is_asked_unless_it_has_just_answered() -> None:
    wanted = [
        make_resource("container/store", probed=True),
        make_resource("container/runner", probed=True),
    ]
    seen = {r.address: make_present(str(r.address), running=True) for r in wanted}
    plan = build_plan(decide_all(wanted, seen), frozenset({parse_address("container/store")}))
    assert [(s.verb, str(s.address)) for s in plan.steps] == [(Verb.AWAIT, "container/runner")]
    assert plan.changes == ()


def test_every_step_comes_after_what_it_needs() -> None:
    wanted = [
        make_resource("release/a", "bundle/a@1"),
        make_resource("bundle/a@1", "container/runner"),
    ]
    wanted += [make_resource("container/runner", "network/main"), make_resource("network/main")]
    plan = build_plan(decide_all(wanted, {}))
    placed: set[str] = set()
    for step in plan.steps:
        assert {str(n) for n in step.needs} <= placed
        placed.add(str(step.address))
    assert len(placed) == len(wanted)


@pytest.mark.slow
def test_the_order_of_very_many_steps_costs_in_proportion() -> None:
    """With work that grows with the square of this, the test would run into its time limit."""
    many = 10_000
    addresses = [f"release/e{n}" for n in range(many)] + [f"bundle/e{n}@a" for n in range(many)]
    addresses += ["container/store", "container/database", "network/main", "volume/store"]
    seen = {parse_address(a): make_present(a, retained=a.startswith("volume")) for a in addresses}
    plan = build_plan(decide_destroy(seen, data_goes=True))
    assert needs(plan, "bundle/e7@a") == {"release/e7"}
    assert len(needs(plan, "container/store")) == 2 * many
    ended = _executed(plan)
    assert len(ended) == len(addresses)
    assert all(isinstance(it.outcome, Done) for it in ended)


def _executed(plan: Plan) -> tuple[Ended, ...]:
    class Nothing:
        def delete(self, *_: object) -> None: ...

    class Asks:
        def probe(self, _: object) -> Yes:
            return Yes()

        def prewarm(self, _: object) -> Yes:
            return Yes()

    drivers: Any = defaultdict(Nothing)
    prober: Any = Asks()
    return Executor(lambda: drivers, prober, lambda _: None, 0.0).execute(plan)
