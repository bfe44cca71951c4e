"""Whose promises a runner is held to, and where the two differ on purpose.

A row that differs holds both expectations and the name of the difference, the same name that
`docs/explanation/runner-differences.md` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Kind(StrEnum):
    """Which runner is asked."""

    OURS = "ours"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Differs(Generic[T]):
    """What each kind is expected to do."""

    name: str
    ours: T
    original: T

    def on(self, kind: Kind) -> T:
        return self.ours if kind is Kind.OURS else self.original


def differs(name: str, *, ours: T, original: T) -> Differs[T]:
    return Differs(name, ours, original)


def settle(kind: Kind, value: object) -> Any:
    """What this kind is expected to do, of a value that may differ."""
    return value.on(kind) if isinstance(value, Differs) else value
