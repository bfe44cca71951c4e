"""The name of a resource, as a type: `kind/name`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
