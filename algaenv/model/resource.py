"""A resource that should exist, and what was observed of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TypeVar

from algaenv.bundle.value import dataclass, field
from algaenv.model.drift import Drift
from algaenv.model.kind import Address, Tier
from algaenv.model.probe import Probe

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Inputs = Mapping[str, Json]
"""What a fingerprint is made of, field by field; secrets stand in it only as keyed digests."""
Body = TypeVar("Body")


def fingerprint(inputs: Inputs) -> str:
    """16 hex digits over the canonical JSON of `inputs`."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that should exist.

    `inputs` decide whether what is recorded is still what is wanted. `body` is what its driver
    needs to make it, a type of that driver's own. `needs` must be done, and answer their probes,
    before this one is touched. A `retained` resource outlives `down` (data volumes, buckets).
    """

    address: Address
    tier: Tier
    inputs: Inputs
    body: object
    needs: tuple[Address, ...] = ()
    probe: Probe | None = None
    retained: bool = False
    replaced: bool = False
    """True: a change means a new one in place of the old, not an update (containers)."""

    @property
    def fingerprint(self) -> str:
        """The value that its record must have for it to count as unchanged."""
        return fingerprint(self.inputs)


@dataclass(frozen=True, slots=True)
class ServiceEngine:
    """The program behind a service: `postgres-18`, version `18.6`, and its origin.

    `version` is empty when unknown; `source` is a phrase for people.
    """

    service: str
    name: str
    version: str
    source: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class Absent:
    """It does not exist."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """It could not be observed: its host does not answer (yet)."""

    why: str


@dataclass(frozen=True, slots=True)
class Present:
    """It exists.

    `recorded` is the fingerprint in its mark, None when it carries no mark of ours.
    `drift` names each live fact that no longer agrees with the record.
    `running` is None for things that do not run. `handle` is the driver's own (an engine id, …).
    """

    recorded: str | None
    inputs: Inputs = field(default_factory=dict)
    drift: tuple[Drift, ...] = ()
    running: bool | None = None
    handle: str = ""
    note: str = ""
    """A phrase for people: who made it, or what it holds."""
    retained: bool = False
    """Kept by `down` unless data is deleted as well."""
    since: str = ""
    """When it stopped, RFC 3339 in UTC; empty while it runs, and where unknown."""


Observation = Absent | Unseen | Present


def spec_as(resource: Resource, kind: type[Body]) -> Body:
    """The body, if it is a `kind`; TypeError otherwise, which is a bug of ours."""
    if not isinstance(resource.body, kind):
        raise TypeError(f"{resource.address} has a {type(resource.body).__name__}")
    return resource.body
