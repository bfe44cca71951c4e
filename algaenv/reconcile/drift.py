"""Compares what is there with what the last `up` left, whatever the spec says by now."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from algaenv.model.drift import GONE, HIDDEN, STOPPED, Drift, DriftedResource, DriftReport
from algaenv.model.event import Done, Ended, FailedStep
from algaenv.model.kind import (
    BUCKET,
    BUNDLE,
    CONTENT_SERVICES,
    EXTENSION,
    HANDLER,
    IMAGE,
    KINDS,
    RELEASE,
    SEEDS,
    TASK,
    Address,
    Tier,
    kind_of,
)
from algaenv.model.lock import Lock
from algaenv.model.plan import Verb
from algaenv.model.problem import Failed, Unavailable
from algaenv.model.resource import Absent, Inputs, Observation, Present, Resource
from algaenv.plan.desired import desired_content
from algaenv.plan.diff import without_ignored
from algaenv.plan.order import extension_of
from algaenv.reconcile.converge import Backends, PlanResult
from algaenv.reconcile.protocols import ContentHost

SECRETS: Final = Address("secret", "secrets.json")
"""The file with the generated secrets of an environment."""
_CHECKS: Final = (EXTENSION.name, HANDLER.name, TASK.name)
"""Kinds that stand for an answer or a run, not for something that is there."""
_OF_EXTENSIONS: Final = (BUNDLE.name, RELEASE.name)
_DIGEST: Final = re.compile(r"(?:hmac:)?[0-9a-f]{16}")
_DAMAGED: Final = "kept-damaged"


def record_after(
    before: Mapping[str, str] | None,
    planned: PlanResult,
    ended: Iterable[Ended],
    extensions: Collection[str],
) -> Mapping[str, str]:
    """Address → fingerprint of what is there after a run; `before` is that of the run before.

    What a failed step has left is unknown, so it is not in the record. Nor is, once content could
    be planned, what belonged to an extension that is none of `extensions`, those of the spec: an
    object that no row ever pointed to goes without a step. A bucket that the spec does not name any
    more stays, and is nobody's from then on.
    """
    record, ended = dict(before or {}), tuple(ended)
    if planned.content_known:
        named = {it: Address.parse(it) for it in record}
        planned_buckets = {*planned.same, *(it.step.address for it in ended)}
        planned_buckets |= {it.address for it in planned.plan.blocked}
        record = {
            it: made
            for it, made in record.items()
            if (named[it].kind not in _OF_EXTENSIONS or extension_of(named[it]) in extensions)
            and (named[it] not in BUCKET or named[it] in planned_buckets)
        }
    record |= {str(it): made for it, made in planned.same.items() if it.kind not in _CHECKS}
    return _applied(record, ended)


def record_after_down(before: Mapping[str, str], ended: Iterable[Ended]) -> Mapping[str, str]:
    """The same after a `down`."""
    return _applied(dict(before), ended)


def secrets_gone() -> DriftReport:
    """The report when the generated secrets are gone: without them nothing else can be seen."""
    gone = Drift("it is gone, or cannot be read", GONE, "present", "")
    return DriftReport((DriftedResource(SECRETS, (gone,)),), {"everything else": "it needs them"})


def find_drift(lock: Lock, record: Mapping[str, str], backends: Backends) -> DriftReport:
    """Compare everything of `record` with what is there; `lock` is that of the last run.

    Writes nothing. Raises Unavailable (EngineGone for the engine) where a host does not answer
    although it runs as it should.
    """
    lowered = backends.runtime.lower(lock, lambda _: None)
    wanted = {it.address: it for it in lowered.resources}
    observer = backends.runtime.observer(lock.environment)
    seen = dict(observer.observe(lowered.resources, thorough=True))
    found = {a: _of(a, record, seen, wanted) for a in _recorded(record, Tier.SUBSTRATE)}
    found |= {a: (_extra(),) for a in _unrecorded(record, seen)}
    hosts = [a for name, a in lowered.hosts.items() if name in CONTENT_SERVICES]
    down = [a for a in hosts if any(it.field in (GONE, STOPPED) for it in found.get(a, ()))]
    unseen: dict[str, str] = {}
    try:
        snapshot = backends.content.snapshot(lock)
    except Unavailable:
        if not down:
            raise
        unseen["content"] = f"{', '.join(map(str, down))} does not run"
    else:
        content = {it.address: it for it in desired_content(lock, snapshot.ids, lowered.hosts)}
        seen |= snapshot.observe(tuple(content.values()))
        for address in _recorded(record, Tier.CONTENT):
            found[address] = _of(address, record, seen, content)
        for address in _lost_bundles(found):
            del found[address]
            unseen[str(address)] = "no rows say where it is"
        for address, drifts in _damaged_bundles(found, seen, backends.content).items():
            found[address] += drifts
    return _report(lock, found, unseen)


def _report(
    lock: Lock, found: Mapping[Address, tuple[Drift, ...]], unseen: Mapping[str, str]
) -> DriftReport:
    shown: dict[Address, Observation] = {a: Present("", drift=it) for a, it in found.items()}
    kept = without_ignored(shown, lock.intent.drift_ignore)
    drifted = tuple(
        DriftedResource(address, there.drift)
        for address, there in sorted(kept.items())
        if isinstance(there, Present) and there.drift
    )
    reported = sum(len(it.fields) for it in drifted)
    return DriftReport(drifted, unseen, sum(map(len, found.values())) - reported)


def _applied(record: dict[str, str], ended: Iterable[Ended]) -> Mapping[str, str]:
    for it in ended:
        address = str(it.step.address)
        kind = it.step.address.kind
        if not it.step.writes or kind not in KINDS or kind in _CHECKS:
            continue
        resource = it.step.change.resource if it.step.change else None
        if isinstance(it.outcome, FailedStep) or (
            isinstance(it.outcome, Done) and it.step.verb is Verb.DELETE
        ):
            record.pop(address, None)
        elif isinstance(it.outcome, Done) and resource is not None:
            record[address] = resource.fingerprint
    return dict(sorted(record.items()))


def _recorded(record: Mapping[str, str], tier: Tier) -> list[Address]:
    """What is looked at; images are shared by environments, and so anyone's to change."""
    addresses = map(Address.parse, record)
    return [a for a in addresses if kind_of(a).tier is tier and a not in IMAGE]


def _unrecorded(record: Mapping[str, str], seen: Mapping[Address, Observation]) -> list[Address]:
    """What carries our mark without having been made by a run: a copy made by hand."""
    return [
        address
        for address, there in seen.items()
        if isinstance(there, Present)
        and there.recorded is not None
        and not there.retained
        and str(address) not in record
    ]


def _of(
    address: Address,
    record: Mapping[str, str],
    seen: Mapping[Address, Observation],
    wanted: Mapping[Address, Resource],
) -> tuple[Drift, ...]:
    match seen.get(address, Absent()):
        case Present(recorded=None) as there:
            made_by = f": {there.note}" if there.note else ""
            phrase = f"another one has its place{made_by}"
            return (Drift(phrase, GONE, "ours", there.note or "not ours"),)
        case Present() as there:
            return _of_present(address, record[str(address)], there, wanted.get(address))
        case _:
            return (Drift("it is gone", GONE, "present", ""),)


def _of_present(
    address: Address, before: str, there: Present, wanted: Resource | None
) -> tuple[Drift, ...]:
    found = list(there.drift)
    if there.running is False:
        how = there.note.partition("not running: ")[2]
        phrase = f"it does not run: {how}" if how else "it does not run"
        stopped = Drift(phrase, STOPPED, "running", "stopped", there.since)
        found.insert(0, stopped)
    marked = kind_of(address).runs or address in RELEASE or kind_of(address) in SEEDS
    if marked and there.recorded != before:
        phrase = "it was made anew by something else: its record is another one"
        found.append(Drift(phrase, "record", before, str(there.recorded)))
    elif wanted is not None and kind_of(address).runs and wanted.fingerprint != before:
        found += _secrets(there.inputs, wanted.inputs)
    return tuple(found)


def _secrets(recorded: Inputs, wanted: Inputs) -> Iterable[Drift]:
    """Secrets of the state directory that are others than the service was started with."""
    for field in sorted(set(recorded) & set(wanted)):
        old, new = recorded[field], wanted[field]
        if old != new and all(isinstance(it, str) and _DIGEST.fullmatch(it) for it in (old, new)):
            phrase = f"the secret behind {field} is another one than it was made with"
            yield Drift(phrase, f"secrets.{field}", HIDDEN, HIDDEN)


def _extra() -> Drift:
    phrase = "it carries the mark of this environment, and no finished run has made it"
    return Drift(phrase, GONE, "", "present")


def _lost_bundles(found: Mapping[Address, tuple[Drift, ...]]) -> list[Address]:
    """Bundles that only the rows of an extension would lead to, where there are none.

    They are gone as well, or were never written: the runner did not take the handler.
    """

    def gone(address: Address) -> bool:
        return any(it.field == GONE for it in found[address])

    def has_rows(address: Address) -> bool:
        release = RELEASE.address(extension_of(address))
        return release in found and not gone(release)

    return [it for it in found if it in BUNDLE and gone(it) and not has_rows(it)]


def _damaged_bundles(
    found: Mapping[Address, tuple[Drift, ...]],
    seen: Mapping[Address, Observation],
    content: ContentHost,
) -> Mapping[Address, tuple[Drift, ...]]:
    """Bundles whose bytes are not those that their key names; each is downloaded once."""
    import tempfile

    damaged: dict[Address, tuple[Drift, ...]] = {}
    with tempfile.TemporaryDirectory(prefix="algaenv-drift-") as directory:
        for address in found:
            there = seen.get(address)
            if address in BUNDLE and isinstance(there, Present) and not found[address]:
                try:
                    content.fetch(there.handle, Path(directory))
                except Failed as error:
                    if all(it.code != _DAMAGED for it in error.problems):
                        raise
                    phrase = "the object holds other bytes than the bundle"
                    drift = Drift(phrase, "bytes", "the bundle", "other bytes", there.note)
                    damaged[address] = (drift,)
    return damaged
