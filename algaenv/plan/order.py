"""The order of a plan: which step waits for which, sorted topologically in linear time.

Older bundles that are kept for a rollback leave it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeGuard

from algaenv.bundle.value import dataclass
from algaenv.model.kind import BUNDLE, CONTENT_SERVICES, RELEASE, Address, kind_of
from algaenv.model.plan import (
    Blocked,
    Cause,
    Change,
    Decision,
    Deferred,
    Kept,
    Plan,
    Prewarm,
    Same,
    Step,
    Verb,
)
from algaenv.model.resource import Observation, Present

READINESS = Cause("does it answer?")


def build_plan(
    decisions: Iterable[Decision],
    answered: frozenset[Address] = frozenset(),
    also: frozenset[Address] = frozenset(),
) -> Plan:
    """Order the decisions into a plan.

    A resource that stays the same but has a probe becomes a step that only waits, unless its
    address is in `answered`: a real client was just served by it. `also` are the addresses of an
    earlier execution, which steps of this plan may depend on.
    """
    decisions = tuple(decisions)
    deletion_needs = _DeletionNeeds.collect(decisions)
    steps: dict[Address, Step] = {}
    for decision in decisions:
        match decision:
            case Change(verb=Verb.DELETE):
                steps[decision.address] = _step(decision, deletion_needs.of(decision.address))
            case Change(resource=resource):
                needs = frozenset(resource.needs) if resource else frozenset()
                steps[decision.address] = _step(decision, needs)
            case Same(resource) if resource.probe and resource.address not in answered:
                steps[resource.address] = Step(
                    Verb.AWAIT,
                    resource.address,
                    READINESS,
                    frozenset(resource.needs),
                    None,
                    resource,
                )
            case Prewarm(cause, resource):
                steps[resource.address] = Step(
                    Verb.PREWARM, resource.address, cause, frozenset(resource.needs), None, resource
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


@dataclass(frozen=True, slots=True)
class _DeletionNeeds:
    """What each deletion waits for. Computed once a plan, so the work is linear in its size."""

    below: Mapping[int, frozenset[Address]]
    """Rank → the deletions of all ranks below it."""
    releases: Mapping[str, tuple[Address, ...]]
    """Extension → its rows that are deleted."""
    written: Mapping[str, tuple[Address, ...]]
    """Extension → its rows and bundles that are made or changed, and its handler to prewarm."""
    services: Mapping[str, tuple[Address, ...]]
    """Name → the containers and processes that are deleted."""

    @classmethod
    def collect(cls, decisions: Iterable[Decision]) -> _DeletionNeeds:
        by_rank: dict[int, set[Address]] = defaultdict(set)
        releases: dict[str, tuple[Address, ...]] = defaultdict(tuple)
        written: dict[str, tuple[Address, ...]] = defaultdict(tuple)
        services: dict[str, tuple[Address, ...]] = defaultdict(tuple)
        for decision in decisions:
            if isinstance(decision, Prewarm):
                handler = decision.resource.address
                written[extension_of(handler)] += (handler,)
            if not isinstance(decision, Change):
                continue
            address = decision.address
            if decision.verb is not Verb.DELETE:
                if address in RELEASE or address in BUNDLE:
                    written[extension_of(address)] += (address,)
                continue
            by_rank[kind_of(address).rank].add(address)
            if address in RELEASE:
                releases[extension_of(address)] += (address,)
            elif kind_of(address).runs:
                services[address.name] += (address,)
        below: dict[int, frozenset[Address]] = {}
        lower: frozenset[Address] = frozenset()
        for rank in sorted(by_rank):
            below[rank] = lower
            lower |= by_rank[rank]
        return cls(below, releases, written, services)

    def of(self, address: Address) -> frozenset[Address]:
        """What must end before `address` is deleted: everything that depends on it."""
        if address in BUNDLE:
            # The rows must point elsewhere, and the new page must answer, before the old one goes.
            name = extension_of(address)
            return frozenset(self.releases.get(name, ()) + self.written.get(name, ()))
        if kind_of(address).runs and address.name not in CONTENT_SERVICES:
            return frozenset()
        if kind_of(address).holds_data:
            return frozenset(self.services.get(address.name, ()))
        return self.below[kind_of(address).rank]


def _sorted(steps: list[Step]) -> tuple[Step, ...]:
    """A stable topological order; raises RuntimeError on a cycle, which is a bug of ours."""
    place = {step.address: number for number, step in enumerate(steps)}
    missing = [len(step.needs & place.keys()) for step in steps]
    dependents: dict[Address, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for need in step.needs & place.keys():
            dependents[need].append(number)
    placed: list[Step] = []
    ready = [number for number, count in enumerate(missing) if not count]
    while ready:
        placed += (steps[number] for number in ready)
        following = []
        for number in ready:
            for waiting in dependents[steps[number].address]:
                missing[waiting] -= 1
                if not missing[waiting]:
                    following.append(waiting)
        ready = sorted(following)
    if len(placed) < len(steps):
        cycle = ", ".join(sorted(str(steps[n].address) for n, count in enumerate(missing) if count))
        raise RuntimeError(f"the plan has a cycle among {cycle}")
    return tuple(placed)


def extension_of(address: Address) -> str:
    """The extension a bundle or release address belongs to."""
    return address.name.partition("@")[0]


def retain_recent(
    decisions: Iterable[Decision],
    seen: Mapping[Address, Observation],
    wanted_extensions: Iterable[str],
    keep_versions: int,
) -> tuple[Decision, ...]:
    """Drop the deletion of the newest `keep_versions` bundles that are not current.

    Age is the object's time of last change, which its observation carries as an ISO note, so that
    the one that served just before the current one stays. Bundles of an extension that is gone
    from the spec are deleted, and so are those without a note: no row ever pointed to it.
    """
    decisions = tuple(decisions)
    wanted = set(wanted_extensions)
    older: dict[str, list[tuple[str, Address]]] = defaultdict(list)
    for decision in decisions:
        if _is_old_bundle(decision, wanted):
            there = seen[decision.address]
            note = there.note if isinstance(there, Present) else ""
            if note:
                older[extension_of(decision.address)].append((note, decision.address))
    retained = {
        address
        for found in older.values()
        for _, address in sorted(found, reverse=True)[:keep_versions]
    }
    result: list[Decision] = []
    for decision in decisions:
        if not _is_old_bundle(decision, wanted):
            result.append(decision)
        elif decision.address not in retained:
            released = decision.seen is None or decision.seen.note
            why = f"older than the {keep_versions} kept for a rollback"
            cause = Cause("superseded", (why if released else "never released",))
            result.append(Change(Verb.DELETE, decision.address, cause, None, decision.seen))
    return tuple(result)


def _is_old_bundle(decision: Decision, wanted: set[str]) -> TypeGuard[Change]:
    return (
        isinstance(decision, Change)
        and decision.verb is Verb.DELETE
        and decision.address in BUNDLE
        and extension_of(decision.address) in wanted
    )
