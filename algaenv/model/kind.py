"""The address of a resource, and its kinds as data.

A kind has a tier, a place in the order of deletion, and may hold data or run.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from algaenv.bundle.value import dataclass


class Tier(enum.IntEnum):
    """Content lives inside substrate, so it can be observed only once its host answers."""

    SUBSTRATE = 0
    CONTENT = 1


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`kind/name`, unique within one environment."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `kind/name`; raises ValueError when there is no slash."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(f"not an address: {text!r}")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource; its name is the first half of an address.

    `rank` orders deletions: dependents have a lower one and go first; kinds of one rank do not wait
    for each other. `holds_data`: `down` keeps it unless asked. `runs`: it is a service. `attached`:
    a service is bound to it when it is created, and so is created anew together with it.
    """

    name: str
    tier: Tier
    rank: int
    holds_data: bool = False
    runs: bool = False
    attached: bool = False

    def address(self, name: str) -> Address:
        """The address of one of this kind."""
        return Address(self.name, name)

    def __contains__(self, address: Address) -> bool:
        return address.kind == self.name


EXTENSION: Final = Kind("extension", Tier.CONTENT, 0)
"""A readiness check of an extension."""
HANDLER: Final = Kind("handler", Tier.CONTENT, 0)
"""A handler that the runner compiles in advance."""
TASK: Final = Kind("task", Tier.CONTENT, 0)
"""A command of the author's."""
RELEASE: Final = Kind("release", Tier.CONTENT, 0)
SEED_SQL: Final = Kind("seed-sql", Tier.CONTENT, 0)
"""A file of SQL statements that was applied."""
SEED_OBJECTS: Final = Kind("seed-objects", Tier.CONTENT, 0)
SEED_RECORDS: Final = Kind("seed-records", Tier.CONTENT, 0)
SEEDS: Final = (SEED_SQL, SEED_OBJECTS, SEED_RECORDS)
BUNDLE: Final = Kind("bundle", Tier.CONTENT, 1)
BUCKET: Final = Kind("bucket", Tier.CONTENT, 2)
TENANT: Final = Kind("tenant", Tier.CONTENT, 2)
SCHEMA: Final = Kind("schema", Tier.CONTENT, 3)
CONTAINER: Final = Kind("container", Tier.SUBSTRATE, 4, runs=True)
PROCESS: Final = Kind("process", Tier.SUBSTRATE, 4, runs=True)
NETWORK: Final = Kind("network", Tier.SUBSTRATE, 5, attached=True)
VOLUME: Final = Kind("volume", Tier.SUBSTRATE, 5, holds_data=True, attached=True)
FOLDER: Final = Kind("folder", Tier.SUBSTRATE, 5, holds_data=True, attached=True)
IMAGE: Final = Kind("image", Tier.SUBSTRATE, 6)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        EXTENSION,
        HANDLER,
        TASK,
        RELEASE,
        *SEEDS,
        BUNDLE,
        BUCKET,
        TENANT,
        SCHEMA,
        CONTAINER,
        PROCESS,
        NETWORK,
        VOLUME,
        FOLDER,
        IMAGE,
    )
}
CONTENT_SERVICES: Final = ("store", "database")
"""The services that hold content; the others need not wait for its removal."""


def kind_of(address: Address) -> Kind:
    """The kind of an address; one that is not listed is deleted last."""
    return KINDS.get(address.kind) or Kind(address.kind, Tier.SUBSTRATE, 9)
