"""What one call of a handler did: its stages, its host calls, and what it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from algaenv.bundle.value import dataclass, field

_FAILED = 400
_FIELDS = 8
"""Of a host call in a trace of the runner."""


@dataclass(frozen=True, slots=True)
class HostCall:
    """A call of a function of the host. Times are in ms, sizes in bytes; `at` is since the begin.

    `lines` is how many lines the guest had written before. `error` is empty without one.
    """

    name: str
    at: float
    ms: float
    sent: int
    received: int
    error: str = ""
    lines: int = 0
    about: str = ""


@dataclass(frozen=True, slots=True)
class GuestLine:
    """A line that a guest wrote: `at` in Unix ms, and `stream` log, stdout or stderr."""

    at: int
    level: str
    stream: str
    message: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class CallTrace:
    """A call as far as its runner tells. `times` are in ms, by stage."""

    times: Mapping[str, float] = field(default_factory=dict)
    host_calls: tuple[HostCall, ...] = ()
    more: int = 0
    """Host calls that are not listed."""
    lines: int = 0
    """How many lines the guest wrote."""
    guest_lines: tuple[GuestLine, ...] = ()
    """Those of them that were found."""
    unread: str = ""
    """Why lines are missing; empty where none is."""

    @property
    def missing(self) -> int:
        """Lines that were written and not found."""
        return max(0, self.lines - len(self.guest_lines))

    @property
    def steps(self) -> Sequence[HostCall | GuestLine]:
        """Host calls and lines, in the order in which they began."""
        found: list[HostCall | GuestLine] = []
        lines = list(self.guest_lines)
        written = 0
        for call in self.host_calls:
            count = max(0, call.lines - written)
            found += [*lines[:count], call]
            written += count
            del lines[:count]
        return [*found, *lines]


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """A request to a gateway, from its decision to its answer.

    `at` is Unix time in ms. `entry` is `proxy`, `direct` or `schedule`. `status` is None while it
    has not ended, and for a run of a schedule that went well it is 200.
    """

    request_id: str
    at: int
    extension: str
    """The name in the spec, else the registry id; empty where the gateway found none."""
    entry: str
    method: str
    path: str
    user: str = ""
    status: int | None = None
    ms: float | None = None
    runner_ms: float | None = None
    """None where the runner was not asked."""
    problem: str = ""
    """`code: summary`, or what the runner says of a call that failed."""
    reason: str = ""
    hint: str = ""
    call: CallTrace | None = None
    """What the runner tells; None where it tells nothing."""

    @property
    def failed(self) -> bool:
        """True for a status of 400 or more."""
        return self.status is not None and self.status >= _FAILED


def read_trace(found: object) -> CallTrace | None:
    """A trace as a runner tells it; None for anything else."""
    if not isinstance(found, Mapping) or not isinstance(found.get("calls"), list):
        return None
    times = found.get("times")
    return CallTrace(
        times={
            str(name): float(ms)
            for name, ms in (times.items() if isinstance(times, Mapping) else ())
            if _is_number(ms)
        },
        host_calls=tuple(
            _host_call(each)
            for each in found["calls"]
            if isinstance(each, list) and len(each) >= _FIELDS
        ),
        more=_whole(found.get("more")),
        lines=_whole(found.get("lines")),
    )


def _host_call(values: Sequence[Any]) -> HostCall:
    name, at, ms, sent, received, error, lines, about = values[:_FIELDS]
    return HostCall(
        str(name),
        float(at) if _is_number(at) else 0.0,
        float(ms) if _is_number(ms) else 0.0,
        _whole(sent),
        _whole(received),
        str(error),
        _whole(lines),
        str(about),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
