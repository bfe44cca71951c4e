"""The truth table: what is wanted × what was seen → a decision with its cause.

| wanted | recorded | live   | running | decision                                  |
|--------|----------|--------|---------|-------------------------------------------|
| w      | absent   | –      | –       | create (missing)                          |
| w      | unseen   | –      | –       | deferred                                  |
| w      | none     | any    | any     | blocked (not ours), or update when adopted|
| w      | ≠ w      | any    | any     | update or replace (spec changed)          |
| w      | = w      | ≠ w    | any     | update or replace (drifted)               |
| w      | = w      | = w    | no      | start (stopped)                           |
| w      | = w      | = w    | yes, –  | same                                      |
| –      | ours     | any    | any     | delete (no longer in the spec), or kept   |
| –      | none     | any    | any     | left alone                                |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from algaenv.bundle.value import replace
from algaenv.model.drift import DriftRule
from algaenv.model.kind import IMAGE, RELEASE, Address, kind_of
from algaenv.model.plan import Blocked, Cause, Change, Decision, Deferred, Kept, Same, Verb
from algaenv.model.problem import Problem, Refused
from algaenv.model.resource import Absent, Inputs, Observation, Present, Resource, Unseen

MISSING = Cause("missing")
FOLLOWS = {"bundle address": "bundle", "bundle size": "bundle"}
"""Fields whose change goes without saying when another one changed."""


def decide(want: Resource, seen: Observation, *, adopt: bool = False) -> Decision:
    """The row of the table for a wanted resource."""
    match seen:
        case Absent():
            return Change(Verb.CREATE, want.address, MISSING, want, None)
        case Unseen(why):
            return Deferred(want, why)
        case Present(recorded=None) if not adopt:
            return Blocked(want.address, _not_ours(want.address, seen))
        case Present(recorded=None):
            cause = Cause("adopted", (seen.note,) if seen.note else ())
            return Change(_changing(want), want.address, cause, want, seen)
        case Present(recorded=recorded) if recorded != want.fingerprint:
            cause = Cause("spec changed", explain(seen.inputs, want.inputs))
            return Change(_changing(want), want.address, cause, want, seen)
        case Present(drift=drift) if drift:
            cause = Cause("drifted", tuple(map(str, drift)))
            return Change(_changing(want), want.address, cause, want, seen)
        case Present(running=False):
            detail = (seen.note,) if seen.note else ()
            return Change(Verb.START, want.address, Cause("stopped", detail), want, seen)
        case Present():
            return Same(want)


def unwanted(
    address: Address, seen: Observation, cause: Cause, *, data_goes: bool = False
) -> Decision | None:
    """The row of the table for something that nothing wants; None: leave it alone.

    Images are shared between environments and so are always kept.
    """
    match seen:
        case Present(recorded=None) | Absent() | Unseen():
            return None
        case Present(retained=True) if address in IMAGE or not data_goes:
            return Kept(address, seen.note or "holds data")
        case Present():
            return Change(Verb.DELETE, address, cause, None, seen)


def without_ignored(
    seen: Mapping[Address, Observation], rules: Sequence[DriftRule]
) -> Mapping[Address, Observation]:
    """The observations without the drift that `rules` of the spec leave alone."""
    if not rules:
        return seen

    def kept(address: Address, there: Observation) -> Observation:
        if not isinstance(there, Present) or not there.drift:
            return there
        left = (it for it in there.drift if not any(r.covers(address, it.field) for r in rules))
        return replace(there, drift=tuple(left))

    return {address: kept(address, there) for address, there in seen.items()}


def decide_destroy(
    seen: Mapping[Address, Observation], *, data_goes: bool = False
) -> tuple[Decision, ...]:
    """What `down` decides: everything of ours goes, but data only when asked."""
    found = (
        unwanted(address, seen[address], Cause("down"), data_goes=data_goes)
        for address in sorted(seen)
    )
    return tuple(decision for decision in found if decision is not None)


def decide_all(
    wanted: Iterable[Resource],
    seen: Mapping[Address, Observation],
    *,
    adopt: bool = False,
    blockers: Mapping[Address, Problem] | None = None,
) -> tuple[Decision, ...]:
    """Every decision: for what is wanted in its order, then for what is there without a want."""
    wanted = tuple(wanted)
    decisions: list[Decision] = []
    for want in wanted:
        decision = decide(want, seen.get(want.address, Absent()), adopt=adopt)
        if blockers and want.address in blockers and isinstance(decision, Change):
            decision = Blocked(want.address, blockers[want.address])
        decisions.append(decision)
    known = {want.address for want in wanted}
    gone = Cause("no longer in the spec")
    for address in sorted(set(seen) - known):
        leftover = unwanted(address, seen[address], gone)
        if leftover is not None:
            decisions.append(leftover)
    return _without_unused_images(_with_rebound_containers(decisions, seen))


def restarted(
    decisions: Iterable[Decision],
    seen: Mapping[Address, Observation],
    hosts: Mapping[str, Address],
    services: frozenset[str],
) -> tuple[Decision, ...]:
    """The decisions with a start for each of `services` that would stay as it is; none: for all.

    Raises Refused (`service-unknown`) for names that are none of `hosts`.
    """
    unknown = sorted(services - set(hosts))
    if unknown:
        hint = f"choose one of {', '.join(sorted(hosts))}"
        summary = "cannot restart {}: this environment has no such service"
        raise Refused(*(Problem("service-unknown", summary.format(name), hint) for name in unknown))
    wanted = {address for name, address in hosts.items() if name in services or not services}
    cause = Cause("restarted")

    def decided(decision: Decision) -> Decision:
        if not isinstance(decision, Same) or decision.resource.address not in wanted:
            return decision
        resource = decision.resource
        there = seen.get(resource.address)
        present = there if isinstance(there, Present) else None
        return Change(Verb.START, resource.address, cause, resource, present)

    return tuple(map(decided, decisions))


def explain(recorded: Inputs, wanted: Inputs) -> tuple[str, ...]:
    """Which fields differ, as `field old → new`; secrets only as `field changed`."""
    found = []
    for field in sorted(set(recorded) | set(wanted)):
        old, new = recorded.get(field), wanted.get(field)
        if field in recorded and field in wanted and old == new:
            continue
        leader = FOLLOWS.get(field)
        if leader and recorded.get(leader) != wanted.get(leader):
            continue
        if field.startswith(("secrets.", "objects.", "records.")) or (
            _is_digest(old) and _is_digest(new)
        ):
            word = "added" if old is None else "removed" if new is None else "changed"
            found.append(f"{field} {word}")
        elif field not in recorded:
            found.append(f"{field} {_short(new)} added")
        elif field not in wanted:
            found.append(f"{field} {_short(old)} removed")
        else:
            found.append(f"{field} {_short(old)} → {_short(new)}")
    return tuple(found) or ("the record is unreadable",)


def _changing(want: Resource) -> Verb:
    return Verb.REPLACE if want.replaced else Verb.UPDATE


def _not_ours(address: Address, seen: Present) -> Problem:
    made_by = f" ({seen.note})" if seen.note else ""
    if address in RELEASE:
        hint = "run `algaenv up --adopt` to take it over, or remove it with the tool that made it"
    else:
        hint = "remove or rename it, or give this environment another name"
    return Problem(
        code="not-ours",
        summary=f"cannot change {address}: it exists and was not made by this environment{made_by}",
        hint=hint,
    )


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 16 and set(value) <= set("0123456789abcdef")


def _short(value: object, limit: int = 72) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if text.startswith("sha256:"):
        return text[:19]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _with_rebound_containers(
    decisions: list[Decision], seen: Mapping[Address, Observation]
) -> list[Decision]:
    """A container bound to a network or volume that is made anew has to be made anew too."""
    renewed = {
        d.address
        for d in decisions
        if isinstance(d, Change)
        and d.verb in (Verb.CREATE, Verb.REPLACE)
        and kind_of(d.address).attached
    }

    def rebound(decision: Decision) -> Decision:
        match decision:
            case Same(resource) | Change(verb=Verb.START, resource=Resource() as resource):
                lost = sorted(str(need) for need in resource.needs if need in renewed)
                there = seen.get(resource.address)
                if lost and resource.replaced and isinstance(there, Present):
                    cause = Cause("drifted", tuple(f"{name} was removed" for name in lost))
                    return Change(Verb.REPLACE, resource.address, cause, resource, there)
        return decision

    return [rebound(decision) for decision in decisions]


def _without_unused_images(decisions: list[Decision]) -> tuple[Decision, ...]:
    """Drop images that no container of the plan needs."""
    used = {
        need
        for d in decisions
        if isinstance(d, Change) and d.resource is not None and d.verb is not Verb.START
        for need in d.resource.needs
    }
    return tuple(
        d
        for d in decisions
        if not (isinstance(d, Change) and d.address in IMAGE and d.address not in used)
    )
