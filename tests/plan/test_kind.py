"""The kinds of resources: their tiers, and the order in which they are deleted."""

from __future__ import annotations

from algaenv.model.kind import KINDS, RELEASE, Tier, kind_of
from tests.plan.builders import parse_address


def test_what_lives_inside_a_host_is_deleted_before_it() -> None:
    content = [it.rank for it in KINDS.values() if it.tier is Tier.CONTENT]
    services = [it.rank for it in KINDS.values() if it.runs]
    bound = [it.rank for it in KINDS.values() if it.attached]
    assert max(content) < min(services) <= max(services) < min(bound)
    assert KINDS["release"].rank < KINDS["bundle"].rank < KINDS["bucket"].rank
    assert KINDS["tenant"].rank < KINDS["schema"].rank


def test_the_kind_of_an_address() -> None:
    assert kind_of(RELEASE.address("hello")) is RELEASE
    assert parse_address("release/hello") in RELEASE
    assert parse_address("bundle/hello@1") not in RELEASE


def test_an_unlisted_kind_is_deleted_last() -> None:
    unlisted = kind_of(parse_address("state/old"))
    assert unlisted.rank > max(it.rank for it in KINDS.values())
    assert (unlisted.runs, unlisted.holds_data) == (False, False)
