"""Edges and order: which step waits for which, and one order that respects them all."""

from __future__ import annotations

from collections.abc import Iterable

from algaenv.model.address import Address
from algaenv.model.plan import (
    Blocked,
    Cause,
    Change,
    Decision,
    Deferred,
    Kept,
    Plan,
    Same,
    Step,
    Verb,
)
from algaenv.plan.scope import extension_of

ASKED = Cause("does it answer?")

DELETION_RANK = {
    "release": 0,
    "bundle": 1,
    "bucket": 2,
    "tenant": 2,
    "schema": 3,
    "container": 4,
    "process": 4,
    "network": 5,
    "volume": 5,
    "folder": 5,
    "image": 6,
}
"""What leans on others goes first; the kinds of one rank do not wait for each other."""

CONTENT_HOSTS = frozenset({"store", "database"})
"""Only these services hold content; the others need not wait for its removal."""


def plan(
    decisions: Iterable[Decision],
    answered: frozenset[Address] = frozenset(),
    also: frozenset[Address] = frozenset(),
) -> Plan:
    """A plan that can be walked.

    A resource that stays the same but has a probe becomes a step that only waits, unless its
    address is in `answered`: a real client has just been served by it. `also` are the addresses
    of a walk that came before, on which steps of this plan may lean.
    """
    decisions = tuple(decisions)
    changes = [d for d in decisions if isinstance(d, Change)]
    deletions = [c for c in changes if c.verb is Verb.DELETE]
    steps: dict[Address, Step] = {}
    for decision in decisions:
        match decision:
            case Change(verb=Verb.DELETE):
                needs = _deletion_needs(decision, changes, deletions)
                steps[decision.address] = _step(decision, needs)
            case Change(resource=resource):
                needs = frozenset(resource.needs) if resource else frozenset()
                steps[decision.address] = _step(decision, needs)
            case Same(resource) if resource.probe and resource.address not in answered:
                steps[resource.address] = Step(
                    Verb.AWAIT, resource.address, ASKED, frozenset(resource.needs), None, resource
                )
            case _:
                pass
    blocked = tuple(d for d in decisions if isinstance(d, Blocked))
    known = set(steps) | {b.address for b in blocked} | also
    trimmed = [
        Step(s.verb, s.address, s.cause, s.needs & known, s.change, s.resource)
        for s in steps.values()
    ]
    return Plan(
        steps=_sorted(trimmed),
        deferred=tuple(d for d in decisions if isinstance(d, Deferred)),
        blocked=blocked,
        kept=tuple(d for d in decisions if isinstance(d, Kept)),
    )


def _step(change: Change, needs: frozenset[Address]) -> Step:
    return Step(change.verb, change.address, change.cause, needs, change, change.resource)


def _deletion_needs(
    change: Change, changes: list[Change], deletions: list[Change]
) -> frozenset[Address]:
    """A deletion waits for whatever leans on it to let go."""
    rank = DELETION_RANK.get(change.address.kind, 9)
    needs = {d.address for d in deletions if _leans_on(d.address, change.address, rank)}
    if change.address.kind == "bundle":
        # The rows must point elsewhere, and the new page must answer, before the old one goes.
        name = extension_of(change.address)
        needs |= {
            c.address
            for c in changes
            if c.address != change.address
            and c.address.kind in ("release", "bundle")
            and c.verb is not Verb.DELETE
            and extension_of(c.address) == name
        }
    return frozenset(needs)


def _leans_on(other: Address, address: Address, rank: int) -> bool:
    other_rank = DELETION_RANK.get(other.kind, 9)
    if other_rank >= rank:
        return False
    if address.kind == "bundle":
        return other.kind == "release" and extension_of(other) == extension_of(address)
    if address.kind in ("container", "process"):
        return address.name in CONTENT_HOSTS
    if address.kind in ("volume", "folder"):
        return other.kind in ("container", "process") and other.name == address.name
    return True


def _sorted(steps: list[Step]) -> tuple[Step, ...]:
    """A stable topological order; raises RuntimeError on a cycle, which is a bug of ours."""
    waiting = {step.address: step for step in steps}
    placed: list[Step] = []
    done: set[Address] = set()
    while waiting:
        ready = [s for s in waiting.values() if not (s.needs - done) & set(waiting)]
        if not ready:
            cycle = ", ".join(sorted(str(address) for address in waiting))
            raise RuntimeError(f"the plan has a cycle among {cycle}")
        for step in ready:
            placed.append(step)
            done.add(step.address)
            del waiting[step.address]
    return tuple(placed)
