"""What was measured, as values: times in pairs, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks import machine

Clock = Callable[[int], float]
"""Does the thing for the n-th time and answers with the seconds it took; n = 0 is the warm-up."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Seconds of ours and of the peer, taken in turn: the n-th of both belong together.

    `peer` is empty for what has no counterpart; `limit` is None where a figure only informs.
    """

    name: str
    title: str
    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()
    against: str = ""
    limit: float | None = None
    busy: float = 0.0
    """The processors that others kept at work just before it was taken."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours by the peer's, pair by pair."""
        return tuple(mine / theirs for mine, theirs in zip(self.ours, self.peer, strict=False))

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return median(self.ratios) if self.ratios else None

    @property
    def held(self) -> bool | None:
        """Whether the limit held; None when there is none."""
        if self.limit is None or self.ratio is None:
            return None
        return self.ratio <= self.limit


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a run, or what a module costs: its name and seconds (medians)."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Where the time of a no-op goes."""

    stretches: tuple[Part, ...] = ()
    """Between the events of `up --json`."""
    origins: tuple[Part, ...] = ()
    """Imports, summed by whose they are."""
    modules: tuple[Part, ...] = ()
    """The ten most expensive imports, each without what it imports in turn."""
    bare: float = 0.0
    """The imports of an interpreter that does nothing, which are in `origins` as well."""
    dataclasses: Part = Part("", 0.0)
    """How many of them the imports generate, and what that costs; a part of `origins`."""


@dataclass(slots=True)
class Results:
    """All of a run of the benchmarks."""

    figures: list[Figure] = field(default_factory=list)
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Measurement → why it is missing."""
    anatomies: dict[str, Anatomy] = field(default_factory=dict)
    """By runtime."""
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pairs(
    name: str,
    title: str,
    runs: int,
    ours: Clock,
    peer: Clock | None = None,
    *,
    against: str = "",
    limit: float | None = None,
) -> Figure:
    """Warm up once, then measure ours and the peer in turn, `runs` times."""
    busy = machine.busy()
    mine: list[float] = []
    theirs: list[float] = []
    for turn in range(runs + 1):
        mine.append(ours(turn))
        if peer is not None:
            theirs.append(peer(turn))
    return Figure(name, title, tuple(mine[1:]), tuple(theirs[1:]), against, limit, busy)
