"""The truth table, row by row."""

from __future__ import annotations

import pytest

from algaenv.model.drift import Drift
from algaenv.model.plan import Blocked, Change, Decision, Deferred, Kept, Same, Verb
from algaenv.model.resource import Absent, Inputs, Observation, Present, Unseen
from algaenv.plan.diff import decide, decide_all, decide_destroy, explain, unwanted
from algaenv.plan.order import build_plan
from tests.plan.builders import make_foreign, make_present, make_resource, parse_address

C = "container/store"
R = "release/hello"


@pytest.mark.parametrize(
    ("address", "seen", "text"),
    [
        (C, Absent(), "create container/store: missing"),
        (C, make_present(C, inputs={"image": "a"}), "replace container/store: spec changed: "),
        (R, make_present(R, inputs={"v": 1}), "update release/hello: spec changed: "),
        (
            C,
            make_present(C, running=True, drift=(Drift("no network"),)),
            "replace container/store: drifted: no",
        ),
        (
            R,
            make_present(R, drift=(Drift("enabled is false"),)),
            "update release/hello: drifted: enabled is f",
        ),
        (
            C,
            make_present(C, running=False, note="exit 137"),
            "start container/store: stopped: exit 137",
        ),
    ],
)
def test_a_difference_becomes_a_change_with_its_cause(
    address: str, seen: Observation, text: str
) -> None:
    decision = decide(make_resource(address), seen)
    assert isinstance(decision, Change)
    assert f"{decision.verb} {decision.address}: {decision.cause}".startswith(text)


@pytest.mark.parametrize(
    "seen",
    [make_present(C, running=True), make_present(C, running=None)],
    ids=["running", "does not run"],
)
def test_nothing_is_decided_about_what_is_as_wanted(seen: Present) -> None:
    assert decide(make_resource(C), seen) == Same(make_resource(C))


def test_what_cannot_be_seen_is_deferred() -> None:
    assert decide(make_resource(R), Unseen("no answer")) == Deferred(make_resource(R), "no answer")


def test_what_somebody_else_made_is_not_touched() -> None:
    decision = decide(make_resource(R), make_foreign("made by another tool"))
    assert isinstance(decision, Blocked)
    assert decision.problem.code == "not-ours"
    assert "made by another tool" in decision.problem.summary
    assert "--adopt" in decision.problem.hint


def test_what_somebody_else_made_is_taken_over_when_told() -> None:
    decision = decide(make_resource(R), make_foreign("made by another tool"), adopt=True)
    assert isinstance(decision, Change)
    assert decision.verb is Verb.UPDATE
    assert str(decision.cause) == "adopted: made by another tool"


def test_unwanted_things_of_ours_go_and_data_stays() -> None:
    seen = {
        parse_address(R): make_present(R),
        parse_address("release/other"): make_foreign(),
        parse_address("volume/store"): make_present("volume/store", retained=True, note="12 MB"),
    }
    decisions = decide_all([], seen)
    assert [type(d) for d in decisions] == [Change, Kept]
    assert (
        str(build_plan(decisions))
        == "delete release/hello: no longer in the spec\nkeep volume/store: 12 MB"
    )


def test_down_takes_data_only_when_asked_and_images_never() -> None:
    seen = {
        parse_address("volume/store"): make_present("volume/store", retained=True),
        parse_address("image/store"): make_present("image/store", retained=True, note="shared"),
        parse_address(C): make_present(C, running=True),
    }
    assert str(build_plan(decide_destroy(seen))) == (
        "delete container/store: down\nkeep image/store: shared\nkeep volume/store: holds data"
    )
    assert str(build_plan(decide_destroy(seen, data_goes=True))) == (
        "delete container/store: down\ndelete volume/store: down\nkeep image/store: shared"
    )


@pytest.mark.parametrize("seen", [make_foreign(), Absent(), Unseen("?")])
def test_nothing_is_said_of_what_is_neither_wanted_nor_ours(seen: Observation) -> None:
    from algaenv.model.plan import Cause

    assert unwanted(parse_address(R), seen, Cause("down")) is None


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            {"manifest version": "0.1.1"},
            {"manifest version": "0.1.2"},
            ("manifest version 0.1.1 → 0.1.2",),
        ),
        ({"ports.api": 4569}, {"ports.api": 4570}, ("ports.api 4569 → 4570",)),
        ({}, {"env.A": "x"}, ("env.A x added",)),
        ({"env.A": "x"}, {}, ("env.A x removed",)),
        ({"secrets.k": "0" * 16}, {"secrets.k": "1" * 16}, ("secrets.k changed",)),
        ({}, {"secrets.k": "0" * 16}, ("secrets.k added",)),
        ({"env.P": "a" * 16}, {"env.P": "b" * 16}, ("env.P changed",)),
        (
            {"bundle": "sha256:" + "a" * 64},
            {"bundle": "sha256:" + "b" * 64},
            ("bundle sha256:" + "a" * 12 + " → sha256:" + "b" * 12,),
        ),
        ({"enabled": True}, {"enabled": False}, ("enabled true → false",)),
        (
            {"bundle": "sha256:" + "a" * 64, "bundle size": 1},
            {"bundle": "sha256:" + "b" * 64, "bundle size": 2},
            ("bundle sha256:" + "a" * 12 + " → sha256:" + "b" * 12,),
        ),
        ({"bundle size": 1}, {"bundle size": 2}, ("bundle size 1 → 2",)),
    ],
)
def test_a_change_is_explained_field_by_field(
    old: Inputs, new: Inputs, text: tuple[str, ...]
) -> None:
    assert explain(old, new) == text


def test_a_container_is_made_anew_when_its_network_was_removed() -> None:
    wanted = [make_resource("network/main"), make_resource(C, "network/main", probed=True)]
    for seen in (make_present(C, running=True), make_present(C, running=False)):
        decisions = decide_all(
            wanted, {parse_address("network/main"): Absent(), parse_address(C): seen}
        )
        assert str(build_plan(decisions)) == (
            "create network/main: missing\n"
            "replace container/store: drifted: network/main was removed"
        )


def test_an_image_is_made_only_for_a_container_that_is_about_to_be() -> None:
    wanted = [make_resource("image/store"), make_resource(C, "image/store")]
    idle: list[Decision] = list(
        decide_all(
            wanted,
            {
                parse_address("image/store"): Absent(),
                parse_address(C): make_present(C, running=True),
            },
        )
    )
    assert str(build_plan(idle)) == ""
    assert str(build_plan(decide_all(wanted, {}))) == (
        "create image/store: missing\ncreate container/store: missing"
    )


def test_a_blocker_stops_a_change_but_not_what_stays_the_same() -> None:
    from algaenv.model.problem import Problem

    problem = Problem("schedule-endpoint-gone", "cannot update release/hello: …")
    blocked = decide_all(
        [make_resource(R)],
        {parse_address(R): make_present(R, inputs={})},
        blockers={parse_address(R): problem},
    )
    assert blocked == (Blocked(parse_address(R), problem),)
    same = decide_all(
        [make_resource(R)],
        {parse_address(R): make_present(R)},
        blockers={parse_address(R): problem},
    )
    assert same == (Same(make_resource(R)),)
