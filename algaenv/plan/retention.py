"""Retention of older bundles for a rollback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeGuard

from algaenv.model.address import Address
from algaenv.model.kind import BUNDLE
from algaenv.model.plan import Cause, Change, Decision, Verb
from algaenv.model.resource import Observation, Present


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
