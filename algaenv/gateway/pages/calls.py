"""Calls of handlers: what the audit has of them, and a form that makes one.

The audit's rows are the product's (`extension_execution_log`); what the gateway knows beyond them
is in its recent events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from starlette.requests import Request
from starlette.responses import Response

from algaenv.bundle.layout import UUID_PATTERN
from algaenv.gateway.db import query
from algaenv.gateway.pages.rendering import Renderer, load_installs, milliseconds
from algaenv.gateway.responses import Problem
from algaenv.gateway.scratch_tenants import request_tenant

if TYPE_CHECKING:
    from algaenv.gateway.db import Pool
    from algaenv.gateway.events import Event
    from algaenv.gateway.installs import Install
    from algaenv.gateway.state import AppState

MAX_LISTED = 100
TIMELINE_MINUTES = 15
SLICES = 30
"""Of a timeline, each as long as the others."""
_STATS_HOURS = 24
_TRACE_FIELDS = 8

_COLUMNS: LiteralString = """
SELECT l.id::text, l.registry_id::text, l.request_id, l.started_at, l.finished_at, l.status,
  l.error, l.metrics, r.name AS extension, v.version
FROM extension_execution_log l
LEFT JOIN extension_registry r ON r.id = l.registry_id
LEFT JOIN extension_version v ON v.id = l.version_id
"""
_RECENT: LiteralString = (
    _COLUMNS
    + """WHERE l.tenant_id = %(tenant)s
  AND (%(extension)s::uuid IS NULL OR l.registry_id = %(extension)s::uuid)
  AND (NOT %(failed)s OR l.status NOT IN ('ok', 'started'))
ORDER BY l.started_at DESC, l.id LIMIT %(limit)s"""
)
_ONE: LiteralString = _COLUMNS + "WHERE l.tenant_id = %(tenant)s AND l.id = %(id)s::uuid"
_OF_REQUEST: LiteralString = (
    _COLUMNS
    + "WHERE l.tenant_id = %(tenant)s AND l.request_id = %(request)s "
    + "ORDER BY l.started_at DESC LIMIT 1"
)
_STATS: LiteralString = """
SELECT registry_id::text, count(*) AS calls,
  count(*) FILTER (WHERE status NOT IN ('ok', 'started')) AS failed,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY (metrics->>'duration_ms')::float8) AS median,
  max(started_at) AS last
FROM extension_execution_log
WHERE tenant_id = %(tenant)s AND started_at > now() - %(hours)s * interval '1 hour'
GROUP BY registry_id"""
_SLICES: LiteralString = """
SELECT registry_id::text, count(*) AS calls,
  floor(extract(epoch FROM now() - started_at) / %(seconds)s)::int AS slice,
  grouping(floor(extract(epoch FROM now() - started_at) / %(seconds)s)::int) = 1 AS whole,
  count(*) FILTER (WHERE status NOT IN ('ok', 'started')) AS failed,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY (metrics->>'duration_ms')::float8) AS p50,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY (metrics->>'duration_ms')::float8) AS p95
FROM extension_execution_log
WHERE tenant_id = %(tenant)s AND started_at > now() - %(slices)s * %(seconds)s * interval '1 second'
  AND (%(extension)s::uuid IS NULL OR registry_id = %(extension)s::uuid)
GROUP BY GROUPING SETS (
  (registry_id, floor(extract(epoch FROM now() - started_at) / %(seconds)s)::int), (registry_id))"""


@dataclass(frozen=True, slots=True)
class CallRow:
    """A row of the audit."""

    id: str
    registry_id: str
    extension: str
    version: str
    request_id: str
    started_at: datetime
    word: str
    """Of the product: `ok`, `started`, `upstream_error`, …"""
    error: str
    method: str
    path: str
    user: str
    http_status: int | None
    ms: float | None

    @property
    def tone(self) -> str:
        """How it went: good, warn (not ended) or bad."""
        return {"ok": "good", "started": "warn"}.get(self.word, "bad")


@dataclass(frozen=True, slots=True)
class Slice:
    """Calls that began within one part of a timeline; times in ms, None where none has ended."""

    calls: int
    failed: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Calls of the last TIMELINE_MINUTES: all together, and by slice, 0 being the oldest."""

    whole: Slice = field(default_factory=lambda: Slice(0, 0, None, None))
    slices: Mapping[int, Slice] = field(default_factory=dict)

    length = SLICES

    @property
    def p50(self) -> Mapping[int, float | None]:
        """The median by slice."""
        return {place: it.p50 for place, it in self.slices.items()}

    @property
    def p95(self) -> Mapping[int, float | None]:
        """The 95th percentile by slice."""
        return {place: it.p95 for place, it in self.slices.items()}

    @property
    def top(self) -> float:
        """The longest time in it."""
        return max((it.p95 or 0.0 for it in self.slices.values()), default=0.0)

    @property
    def text(self) -> str:
        """What the picture shows, in words."""
        if not self.whole.calls:
            return f"no calls in {TIMELINE_MINUTES} min"
        words = [_counted(self.whole.calls, "call"), _counted(self.whole.failed, "error")]
        if self.whole.p50 is not None and self.whole.p95 is not None:
            words.append(f"median {milliseconds(self.whole.p50)}")
            words.append(f"95th percentile {milliseconds(self.whole.p95)}")
        return f"{', '.join(words)} in {TIMELINE_MINUTES} min"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class CallStats:
    """Calls of an extension in the last day, and of the last minutes as a timeline."""

    calls: int = 0
    failed: int = 0
    median: float | None = None
    last: datetime | None = None
    timeline: Timeline = field(default_factory=Timeline)


class CallRepository:
    """Reads the audit. Raises psycopg.Error."""

    def __init__(self, pool: Pool, tenant: str) -> None:
        self._pool = pool
        self._tenant = tenant

    async def recent(
        self, extension: str | None = None, *, failed: bool = False, limit: int = MAX_LISTED
    ) -> list[CallRow]:
        """The latest, of an extension (registry id) or of all, newest first."""
        values = {"extension": extension, "failed": failed, "limit": limit}
        return [_call(row) for row in await self._rows(_RECENT, values)]

    async def find(self, named: str) -> CallRow | None:
        """The call of this row's id, or of this request id."""
        if re.fullmatch(UUID_PATTERN, named) and (rows := await self._rows(_ONE, {"id": named})):
            return _call(rows[0])
        rows = await self._rows(_OF_REQUEST, {"request": named.replace("\0", "")})
        return _call(rows[0]) if rows else None

    async def stats(self) -> dict[str, CallStats]:
        """Registry id → what its calls were like."""
        found = {
            row["registry_id"]: (row["calls"], row["failed"], row["median"], row["last"])
            for row in await self._rows(_STATS, {"hours": _STATS_HOURS})
        }
        lines = await self._timelines(None)
        return {it: CallStats(*values, lines.get(it, Timeline())) for it, values in found.items()}

    async def timeline(self, extension: str) -> Timeline:
        """The last minutes of an extension, by its registry id."""
        return (await self._timelines(extension)).get(extension, Timeline())

    async def _timelines(self, extension: str | None) -> dict[str, Timeline]:
        seconds = TIMELINE_MINUTES * 60 / SLICES
        values = {"extension": extension, "seconds": seconds, "slices": SLICES}
        whole: dict[str, Slice] = {}
        slices: dict[str, dict[int, Slice]] = {}
        for row in await self._rows(_SLICES, values):
            found = Slice(row["calls"], row["failed"], row["p50"], row["p95"])
            if row["whole"]:
                whole[row["registry_id"]] = found
            else:
                # The clock of a caller may be ahead.
                place = min(SLICES - 1, SLICES - 1 - row["slice"])
                slices.setdefault(row["registry_id"], {})[place] = found
        return {it: Timeline(all_, slices.get(it, {})) for it, all_ in whole.items()}

    async def _rows(
        self, statement: LiteralString, values: Mapping[str, object]
    ) -> list[dict[str, Any]]:
        tenant = request_tenant.get() or self._tenant
        return await query(self._pool, statement, {"tenant": tenant, **values})


def _call(row: Mapping[str, Any]) -> CallRow:
    metrics = row["metrics"] if isinstance(row["metrics"], dict) else {}
    status, ms = metrics.get("http_status"), metrics.get("duration_ms")
    return CallRow(
        row["id"],
        row["registry_id"],
        row["extension"] or "removed",
        row["version"] or "",
        row["request_id"] or "",
        row["started_at"],
        row["status"],
        row["error"] or "",
        str(metrics.get("method", "")),
        str(metrics.get("path", "")),
        str(metrics.get("user_id", "")),
        int(status) if isinstance(status, int | float) else None,
        float(ms) if isinstance(ms, int | float) else None,
    )


class CallPages:
    """`/calls` and `/calls/{id}`."""

    def __init__(self, state: AppState, rendering: Renderer, calls: CallRepository) -> None:
        self._state = state
        self._rendering = rendering
        self._calls = calls

    async def listed(self, request: Request) -> Response:
        """The form and the latest calls; `extension` and `failed=1` of the query choose."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        chosen = chosen_install(request, found)
        failed = request.query_params.get("failed") == "1"
        return self._rendering.page(
            "calls.html",
            here="calls",
            installs=found,
            chosen=chosen,
            failed=failed,
            users=self._state.users.all,
            names=self._state.users.names,
            calls=await self._calls.recent(chosen.registry_id if chosen else None, failed=failed),
        )

    async def one(self, request: Request) -> Response:
        """One call, by the id of its row or of its request; 404 when there is none."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        named = request.path_params["call"]
        call = await self._calls.find(named)
        events = self._events(call.request_id if call else named)
        if call is None and not events:
            problem = Problem(
                "gateway-call-unknown",
                f"cannot find a call with the id {named[:100]!r}",
                "choose one from the list; a call that was refused has no row",
            )
            return self._rendering.problem(404, problem, installs=found)
        return self._rendering.page(
            "call.html",
            here="calls",
            installs=found,
            call=call,
            named=named,
            names=self._state.users.names,
            events=events,
            steps=steps(events),
        )

    def _events(self, request_id: str) -> list[Event]:
        if not request_id:
            return []
        return [it for it in self._state.events.recent() if it.get("request_id") == request_id]


@dataclass(frozen=True, slots=True)
class CallStep:
    """A line of the tree of a call."""

    title: str
    detail: str = ""
    tone: str = ""
    ms: float | None = None
    lines: Sequence[str] = ()
    within: bool = False
    """Whether it is a part of the step before."""


def steps(events: Sequence[Event]) -> list[CallStep]:
    """What the gateway, the runner and the handler did, as far as events are still kept."""
    before, within, after = [], [], []
    for event in events:
        text = {name: str(value) for name, value in event.items() if value is not None}
        match event["type"]:
            case "call-started":
                user = f"as {text['user']}" if "user" in text else ""
                before.append(CallStep("The gateway let it through", user, "good"))
            case "guest-failure":
                stderr = event.get("stderr")
                lines = [str(it) for it in stderr] if isinstance(stderr, list | tuple) else []
                reason = text.get("reason", "")
                within.append(CallStep("The handler failed", reason, "bad", None, lines))
            case "product-fault":
                within.append(CallStep("A fault of the product", text.get("summary", ""), "warn"))
            case "schedule-ran":
                after.append(_ending(event, text, f"The run ended: {text['status']}"))
            case "call-ended":
                # Its failures are published before the time that the runner took is known.
                if isinstance(took := event.get("runner_ms"), int | float):
                    trace = event.get("trace")
                    before.append(_run_of(float(took), trace))
                    before += _host_calls(trace)
                after.append(_ending(event, text, f"The caller got {text.get('status')}"))
            case _:
                continue
    return [*before, *within, *after]


def _run_of(took: float, trace: object) -> CallStep:
    times = trace.get("times") if isinstance(trace, dict) else None
    spent = times.items() if isinstance(times, dict) else ()
    detail = ", ".join(
        f"{name} {milliseconds(it)}" for name, it in spent if isinstance(it, int | float) and it
    )
    return CallStep("The runner ran the handler", detail, ms=took)


def _host_calls(trace: object) -> list[CallStep]:
    """What the runner's trace has of each: name, start, milliseconds, bytes sent and received,
    error, lines that the guest had written before, and what it is about."""
    listed = trace.get("calls") if isinstance(trace, dict) else None
    found = []
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, list) or len(each) < _TRACE_FIELDS:
            continue
        name, _, ms, sent, received, error, _, about = each[:_TRACE_FIELDS]
        size = f"{sent} B sent, {received} B received"
        found.append(
            CallStep(
                f"{name} {about}".rstrip(),
                f"{error} ({size})" if error else size,
                "warn" if error else "good",
                ms if isinstance(ms, int | float) else None,
                within=True,
            )
        )
    if isinstance(trace, dict) and (more := trace.get("more")):
        found.append(CallStep(f"{more} more host calls", within=True))
    return found


def _ending(event: Event, text: Mapping[str, str], title: str) -> CallStep:
    ms, status = event.get("ms"), event.get("status")
    good = status == "success" or (isinstance(status, int) and status < 400)
    return CallStep(
        title,
        text.get("summary") or text.get("error") or "",
        "good" if good else "bad",
        float(ms) if isinstance(ms, int | float) else None,
        [f"What to do: {text['hint']}."] if "hint" in text else (),
    )


def chosen_install(request: Request, installs: Sequence[Install]) -> Install | None:
    """The install that `extension` of the query names, by registry id."""
    named = request.query_params.get("extension", "")
    return next((it for it in installs if it.registry_id == named), None)
