"""A plan that is written down, and what must still be as it was for it to be carried out.

It holds no body of a resource, and so no secret: `up PLAN` makes the plan anew, and goes on only if
it is the same, made from the same inputs and the same observations.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from algaenv import __version__
from algaenv.bundle.value import dataclass, field_names, is_dataclass
from algaenv.model.intent import ImagesChoice, RuntimeChoice
from algaenv.model.kind import EXTENSION, HANDLER, Address
from algaenv.model.lock import Lock
from algaenv.model.plan import Change, Plan, Step
from algaenv.model.problem import Problem, StalePlan, Where
from algaenv.model.resource import Json, Present
from algaenv.model.secret import Secret, keyed_digest
from algaenv.system.clock import rfc3339

SHOWN = 20
"""Of so many differences each is named."""
ABSENT = "absent"
NOT_PLANNED = "not in the plan"
Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of the command line that a plan depends on, as in `Request`."""

    runtime: RuntimeChoice | None = None
    images: ImagesChoice | None = None
    adopt: bool = False
    thorough: bool = False
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedStep:
    """A step of a plan without its resource; `wanted` is the fingerprint of that, or empty."""

    verb: str
    address: str
    cause: str
    needs: tuple[str, ...]
    wanted: str


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan, with digests of what it was made from.

    `inputs` names each part of the spec, each bundle and port with its digest or value. `observed`
    says of each address how it was found. `time` is RFC 3339, `spec` an absolute path.
    """

    time: str
    algaenv: str
    environment: str
    name: str
    spec: str
    options: PlanOptions
    inputs: Texts
    observed: Texts
    steps: tuple[SavedStep, ...]
    deferred: tuple[str, ...]
    """Addresses that could not be seen; the plan does nothing about them."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 over the inputs, over what was observed, and over what is done."""
        done = (self.options, self.steps, self.deferred)
        parts = {"inputs": self.inputs, "observed": self.observed, "steps": done}
        return {name: _sha256(part) for name, part in parts.items()}

    def refuse_other(self, now: SavedPlan) -> None:
        """Raise StalePlan with everything that has changed since this plan was made."""
        if found := differences(self, now):
            raise StalePlan(_stale(f"the plan of {self.time}", found))


def saved_plan(
    plan: Plan, same: Mapping[Address, str], lock: Lock, runtime: str, options: PlanOptions
) -> SavedPlan:
    """What is written down of `plan`, now; `same` is what is there as wanted, with its
    fingerprint."""
    return SavedPlan(
        rfc3339(),
        __version__,
        lock.environment.id,
        lock.environment.name,
        str(lock.environment.spec),
        options,
        _inputs(lock, runtime),
        _observed(plan, same),
        tuple(map(_saved_step, plan.steps)),
        tuple(sorted(str(it.resource.address) for it in plan.deferred)),
    )


def other_content(planned: Plan, now: Plan) -> StalePlan | None:
    """The error for content that was taken to be absent, and is not, now that it can be seen."""
    before, after = ([_saved_step(it) for it in each.steps] for each in (planned, now))
    if {(it.verb, it.address, it.wanted) for it in before} == {
        (it.verb, it.address, it.wanted) for it in after
    }:
        return None
    found = sorted({it.address for it in before} ^ {it.address for it in after})
    return StalePlan(_stale("the plan", [f"{it}: not as it was to be" for it in found]))


def _stale(what: str, found: list[str]) -> Problem:
    count = "one thing has" if len(found) == 1 else f"{len(found)} things have"
    more = len(found) - SHOWN
    return Problem(
        "plan-stale",
        f"cannot carry out {what}: {count} changed since",
        "make it anew with `algaenv plan --out FILE`, and look at it",
        detail=(*found[:SHOWN], *([f"and {more} more"] if more > 0 else [])),
    )


def differences(saved: SavedPlan, now: SavedPlan) -> list[str]:
    """What differs, a phrase each: inputs, then what was observed; steps where neither says why."""
    if saved.environment != now.environment:
        return [f"environment: {saved.environment} ({saved.spec}) → {now.environment} ({now.spec})"]
    found = [_input_changed(name, *both) for name, both in _differing(saved.inputs, now.inputs)]
    for address, (before, after) in _differing(saved.observed, now.observed):
        # A changed input gives other addresses, too, which tell nothing new.
        if not found or NOT_PLANNED not in (before, after):
            found.append(f"{address} was {before}, and is now {after}")
    if found:
        return found
    before_, after_ = ({it.address: it for it in each.steps} for each in (saved, now))
    texts = [{k: f"{it.verb}: {it.cause}" for k, it in each.items()} for each in (before_, after_)]
    found += [f"step {k}: {a} → {b}" for k, (a, b) in _differing(*texts)]
    if not found and (saved.steps, saved.deferred) != (now.steps, now.deferred):
        changed = sorted(k for k in before_ if before_[k] != after_.get(k))
        found.append(f"what is wanted of {', '.join(changed) or 'what cannot be seen yet'}")
    return found


def _inputs(lock: Lock, runtime: str) -> dict[str, str]:
    key, intent = lock.credentials.fingerprint_key, lock.intent
    found = {"runtime": runtime}
    for name in field_names(intent):
        if name != "extensions":
            found[f"spec: {name}"] = _keyed(getattr(intent, name), key)
    for extension in intent.extensions:
        found[f"spec: extensions.{extension.name}"] = _keyed(extension, key)
    for locked in lock.extensions:
        found[f"bundle of {locked.name}"] = str(locked.digest)
    for name in field_names(lock.ports):
        found[f"port: {name}"] = str(getattr(lock.ports, name))
    found["secrets"] = _keyed(lock.credentials, key)
    return found


def _input_changed(name: str, before: str, after: str) -> str:
    if name.startswith(("port", "runtime", "bundle")):
        return f"{name}: {before} → {after}"
    word = {before: "added", after: "removed"}.get(NOT_PLANNED, "changed")
    return f"{name} {word}"


def _observed(plan: Plan, same: Mapping[Address, str]) -> dict[str, str]:
    found = {
        str(address): f"there ({fingerprint})"
        for address, fingerprint in same.items()
        if address not in HANDLER and address not in EXTENSION  # They are asked, not observed.
    }
    for step in plan.steps:
        if isinstance(step.change, Change):
            found[str(step.address)] = _seen(step.change.seen)
    found |= {str(it.resource.address): "not to be seen" for it in plan.deferred}
    found |= {str(it.address): "kept" for it in plan.kept}
    return dict(sorted(found.items()))


def _seen(seen: Present | None) -> str:
    if seen is None:
        return ABSENT
    if seen.recorded is None:
        return "there, and not ours"
    word = "stopped" if seen.running is False else "drifted" if seen.drift else "there"
    drift = f": {'; '.join(map(str, seen.drift))}" if seen.drift else ""
    return f"{word} ({seen.recorded}){drift}"


def _saved_step(step: Step) -> SavedStep:
    resource = step.resource
    wanted = resource.fingerprint if resource is not None else ""
    needs = tuple(map(str, sorted(step.needs)))
    return SavedStep(str(step.verb), str(step.address), str(step.cause), needs, wanted)


def _differing(before: Texts, after: Texts) -> list[tuple[str, tuple[str, str]]]:
    both = {k: (before.get(k, NOT_PLANNED), after.get(k, NOT_PLANNED)) for k in {**before, **after}}
    return sorted((k, pair) for k, pair in both.items() if pair[0] != pair[1])


def _keyed(value: object, key: Secret) -> str:
    return keyed_digest(Secret(json.dumps(_plain(value), sort_keys=True)), key)


def _plain(value: object) -> Json:
    """A value as JSON, its secrets revealed, without places in files: they move with comments."""
    match value:
        case Where():
            return None
        case Secret():
            return value.reveal()
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    if not is_dataclass(value):
        return str(value)
    fields: dict[str, Json] = {name: _plain(getattr(value, name)) for name in field_names(value)}
    return {"": type(value).__name__, **fields}


def _sha256(value: object) -> str:
    text = json.dumps(_plain(value), sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
