"""The summary of a call that was repeated: how it was answered, and how long that took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from algaenv.cli.output.terminal import PLAIN, Paint, aligned

if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayResponse
    from algaenv.cli.output.json import JsonObject

_HEAD = ("", "p50", "p95", "longest")
_RUNNER = "x-algaenv-runner-ms"


class CallSummary:
    """Statuses and times in ms of `wanted` calls, or of as many as were made."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._statuses: Counter[int] = Counter()
        self._times: list[float] = []
        self._runner: list[float] = []
        self.failed = 0
        """Calls with a status of 400 or more."""

    def add(self, response: GatewayResponse) -> None:
        """Count a call."""
        self._statuses[response.status] += 1
        self._times.append(response.ms)
        self.failed += response.failed
        try:
            self._runner.append(float(response.headers.get(_RUNNER, "")))
        except ValueError:
            return

    @property
    def progress(self) -> str:
        """`12 of 100`."""
        return f"{len(self._times)} of {self._wanted}"

    def text(self, paint: Paint = PLAIN) -> str:
        """The statuses in a line, and the times in a table."""
        made, cut = len(self._times), ""
        if made < self._wanted:
            cut = f" of {self._wanted}"
        counts = ", ".join(f"{count} × {status}" for status, count in self._statuses.most_common())
        style = "red" if self.failed else "green"
        head = f"{made}{cut} calls: {counts}" if made else f"0{cut} calls"
        rows = [_HEAD, _row("whole call", self._times)] if made else []
        rows += [_row("in the runner", self._runner)] if self._runner else []
        lines = ["".join(cells) for cells in aligned(rows)]
        return "\n".join([paint(head, style, "bold"), *lines]) + "\n"

    def to_json(self) -> JsonObject:
        """Numbers of calls, statuses, and times in ms."""
        return {
            "calls": len(self._times),
            "wanted": self._wanted,
            "failed": self.failed,
            "statuses": {str(status): count for status, count in self._statuses.items()},
            "ms": _quantiles(self._times),
            "runner_ms": _quantiles(self._runner),
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _quantiles(values: Sequence[float]) -> JsonObject:
    if not values:
        return {}
    return {
        "min": min(values),
        "p50": quantile(values, 0.5),
        "p95": quantile(values, 0.95),
        "max": max(values),
    }


def _row(name: str, values: Sequence[float]) -> tuple[str, ...]:
    times = (quantile(values, 0.5), quantile(values, 0.95), max(values))
    return (name, *(f"{it:.1f} ms" for it in times))
