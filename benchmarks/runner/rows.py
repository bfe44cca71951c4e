"""Rows of the runner's table, as values, and the table itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

HEADER: Final = ("peer", "the peer is", "ratio", "limit", "held")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: texts for people, and whether the limit held; None where there is none."""

    what: str
    ours: str
    peer: str = ""
    against: str = ""
    ratio: float | None = None
    limit: str = ""
    held: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """As printed."""
        held = {None: "", True: "yes", False: "**no**"}[self.held]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (self.what, self.ours, self.peer, self.against, ratio, self.limit, held)


@dataclass(slots=True)
class Table:
    """All of a run; `mine` is what is measured."""

    mine: str = "runner"
    rows: list[Row] = field(default_factory=list)
    unmeasured: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """For the page on speed."""
        facts = "; ".join(f"{name} {text}" for name, text in self.facts.items())
        header = ("what", self.mine, *HEADER)
        lines = [_line(header), _line(["---"] * len(header))]
        lines += [_line(row.cells) for row in self.rows]
        lines += ["", f"Measured on: {facts}."]
        lines += [f"\nNot measured: {name}: {why}" for name, why in self.unmeasured.items()]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """All of it, for comparing runs."""
        return json.dumps(asdict(self), indent=1) + "\n"


def milliseconds(seconds: float) -> str:
    """Three digits."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def megabytes(number: float) -> str:
    """Millions of bytes."""
    return f"{number / 1e6:.1f} MB"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
