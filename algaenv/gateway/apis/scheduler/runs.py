"""One run of a schedule: a call of a handler without a caller, and the result in its row."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.gateway.apis.scheduler.repository import EndpointRepository
from algaenv.gateway.call import CallRecord, CallSpan, diagnose
from algaenv.gateway.db import CONNECT_SECONDS, read_json, time_limit
from algaenv.gateway.http_client import HttpResponse
from algaenv.gateway.javascript import number_text, parse_json, stringify, to_number
from algaenv.gateway.runner_client import (
    EntryPoint,
    HandlerRequest,
    HandlerResult,
    RunnerRefused,
    RunnerTimedOut,
    RunnerUnreachable,
)
from algaenv.serving.access_log import SERVER_ERROR

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor

    from algaenv.gateway.installs import Install
    from algaenv.gateway.runner_client import RunnerOutcome
    from algaenv.gateway.state import AppState

    Connection = AsyncConnection[dict[str, Any]]

VERSION_QUIRK = "scheduler-version-change"
MAX_RESPONSE_BYTES = 262_144
"""Of the runner's answer."""

_FIRST_ERROR_STATUS = 400
_MAX_ERROR = 4_000

_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(%(key)s::bigint) AS locked"
_FIND: LiteralString = """
SELECT s.id::text, s.install_id::text, s.tenant_id, s.name, s.enabled, s.payload_json,
  s.last_run_at, e.version_id::text, e.method, e.path
FROM tenant_extension_schedule s LEFT JOIN extension_api_endpoint e ON e.id = s.endpoint_id
WHERE s.id = %(id)s::uuid AND s.tenant_id = %(tenant)s"""
_DISABLE: LiteralString = """
UPDATE tenant_extension_schedule SET enabled = false WHERE id = %(id)s::uuid"""
_SET_ENDPOINT: LiteralString = """
UPDATE tenant_extension_schedule SET endpoint_id = %(endpoint)s::uuid WHERE id = %(id)s::uuid"""
_SET_RESULT: LiteralString = """
UPDATE tenant_extension_schedule SET last_run_at = clock_timestamp(),
  last_run_status = %(status)s, last_error = %(error)s, updated_at = clock_timestamp()
WHERE id = %(id)s::uuid"""


@dataclass(frozen=True, slots=True)
class RunResult:
    """It was called, or should have been. `error` is what the row says, None for success."""

    error: str | None
    request_id: str | None = None
    ms: float = 0.0
    detail: str | None = None
    """What the runner said of it and the product does not keep."""
    headers: Mapping[str, str] | None = None
    trace: Mapping[str, Any] | None = None
    """What our runner tells of the call."""


@dataclass(frozen=True, slots=True)
class RunSkipped:
    """Nothing was called, and the row is as it was."""

    reason: str


class ScheduleRunner:
    """Runs schedules of the tenant."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._endpoints = EndpointRepository(state.pool)

    async def run(self, schedule: str, due: datetime | None = None) -> RunResult | RunSkipped:
        """Run it now, unless it is running already, or has run since `due`, where that is given.

        A connection of its own is open as long as the handler runs: the lock that keeps runs of
        one schedule apart lives as long as a transaction.
        """
        import psycopg
        from psycopg.rows import dict_row

        started = time.perf_counter()
        connection: Connection = await psycopg.AsyncConnection.connect(
            self._state.config.database_url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=int(CONNECT_SECONDS),
        )
        read_json(connection)
        async with connection, connection.transaction():
            cursor = await _execute(connection, _LOCK, {"key": lock_key(schedule)})
            if not (await cursor.fetchone() or {})["locked"]:
                return RunSkipped("it is still running")
            tenant = self._state.tenant
            cursor = await _execute(connection, _FIND, {"id": schedule, "tenant": tenant})
            row = await cursor.fetchone()
            if row is None:
                return RunSkipped("there is no such schedule")
            if not row["enabled"]:
                return RunSkipped("it is disabled")
            if due is not None and row["last_run_at"] is not None and row["last_run_at"] >= due:
                return RunSkipped("it has run")
            ended = await self._attempt(connection, row)
            if isinstance(ended, RunResult):
                error = ended.error[:_MAX_ERROR] if ended.error else None
                status = "error" if error else "success"
                values = {"id": schedule, "status": status, "error": error}
                await _execute(connection, _SET_RESULT, values)
        if isinstance(ended, RunResult):
            await self._publish(row, ended, time.perf_counter() - started)
        return ended

    async def _attempt(
        self, connection: Connection, row: Mapping[str, Any]
    ) -> RunResult | RunSkipped:
        if row["version_id"] is None:
            await _execute(connection, _DISABLE, {"id": row["id"]})
            return RunResult("Schedule endpoint not found; disabling schedule")
        install = await self._state.installs.get(row["install_id"])
        if install is None or not install.available:
            return RunResult("Install config not found")
        if install.tenant != row["tenant_id"]:
            return RunResult("Tenant mismatch for install")
        if install.content_hash is None:
            return RunResult("Install content hash missing")
        if install.version_id != row["version_id"]:
            if self._state.quirks.reproduces(VERSION_QUIRK):
                headers = self._state.quirks.announce(VERSION_QUIRK, extension=install.registry_id)
                error = "Schedule endpoint does not belong to installed version"
                return RunResult(error, headers=headers)
            endpoint = await self._endpoints.find_same(install, row["method"], row["path"])
            if endpoint is None:
                return RunResult(f"The installed version has no {row['method']} {row['path']}")
            await _execute(connection, _SET_ENDPOINT, {"id": row["id"], "endpoint": endpoint.id})
        return await self._call(install, row)

    async def _call(self, install: Install, row: Mapping[str, Any]) -> RunResult:
        payload = row["payload_json"]
        body = None if payload is None else stringify(payload).encode()
        request_id = str(uuid.uuid4())
        spans = self._state.spans
        span = CallSpan.begin({}) if spans is not None else None
        outcome = await self._state.runner.execute(
            install,
            HandlerRequest(row["method"].upper(), row["path"], body=body),
            entry_point=EntryPoint.SCHEDULE,
            request_id=request_id,
            timeout_ms=self._state.config.timeout_ms,
            trigger={"trigger": "schedule", "schedule_id": row["id"]},
            trace_headers=span.context.headers if span is not None else None,
        )
        if spans is not None and span is not None:
            problem = diagnose(outcome, self._state.config.timeout_ms)
            call = CallRecord(
                EntryPoint.SCHEDULE,
                request_id,
                row["method"].upper(),
                row["path"],
                install=install,
                outcome=outcome,
                problem=problem,
            )
            status = outcome.status if isinstance(outcome, HandlerResult) else SERVER_ERROR
            spans.add(span.end(call, status))
        error, detail = run_error(outcome)
        trace = outcome.trace if isinstance(outcome, HandlerResult) else None
        return RunResult(error, request_id, outcome.ms, detail, trace=trace)

    async def _publish(self, row: Mapping[str, Any], ran: RunResult, seconds: float) -> None:
        install = await self._state.installs.get(row["install_id"])
        event: dict[str, object] = {
            "type": "schedule-ran",
            "extension": install.registry_id if install else None,
            "request_id": ran.request_id,
            "schedule": row["id"],
            "name": row["name"],
            "method": row["method"],
            "path": row["path"],
            "status": "error" if ran.error else "success",
            "ms": round(seconds * 1000, 2),
        }
        extra = {"error": ran.error, "detail": ran.detail, "trace": ran.trace}
        self._state.events.publish(event | {name: each for name, each in extra.items() if each})


async def _execute(
    connection: Connection, statement: LiteralString, values: Mapping[str, object]
) -> AsyncCursor[dict[str, Any]]:
    with time_limit(connection):
        return await connection.execute(statement, values)


def lock_key(schedule: str) -> int:
    """The number of the lock on a schedule: what the product takes, so that both keep apart.

    A rolling hash of its UTF-16 code units by 31, as a signed number of 32 bits.
    """
    key = 0
    for unit in memoryview(schedule.encode("utf-16-le")).cast("H"):
        key = (key * 31 + unit) & 0xFFFF_FFFF
    return key - (1 << 32) if key >= 1 << 31 else key


def run_error(outcome: RunnerOutcome) -> tuple[str | None, str | None]:
    """What the row says of an answer, and what is known beyond that.

    The product asks less than it does for a call: any JSON will do, whatever status it came with,
    and a status is what `Number` makes of it.
    """
    match outcome:
        case RunnerTimedOut():
            return "This operation was aborted", "the call took too long"
        case RunnerUnreachable(reason=reason):
            return "fetch failed", reason
        case RunnerRefused(answer=None, text=text):
            return f"Runner response too large ({text}; max {MAX_RESPONSE_BYTES})", None
        case HandlerResult(answer=HttpResponse() as answer, error=detail):
            return _answer_error(answer), detail
        case RunnerRefused(answer=HttpResponse() as answer, text=text):
            return _answer_error(answer), text
        case _:
            raise AssertionError(outcome)


def _answer_error(answer: HttpResponse) -> str | None:
    text = answer.content.decode("utf-8-sig", "replace")
    if (size := len(text.encode())) > MAX_RESPONSE_BYTES:
        return f"Runner response too large ({size} bytes; max {MAX_RESPONSE_BYTES})"
    if not text:
        return f"Runner returned empty body (http {answer.status})"
    try:
        document = parse_json(text)
    except (ValueError, RecursionError):
        return f"Runner returned non-JSON response (http {answer.status})"
    given = document.get("status") if isinstance(document, dict) else None
    status = to_number(answer.status if given is None else given)
    if status >= _FIRST_ERROR_STATUS:
        return f"Runner returned status {number_text(status)}"
    return None
