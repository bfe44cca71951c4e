"""Starts the runs of schedules: when they are due, and at once on the author's request.

The clock is the database's, so that the times of rows and the time of day are one time. A run that
was due more than a minute before the gateway looks is lost, as in the product. One that fails is
tried again, also as in the product; one that the author asks for is not. The admin routes do not
exist in the product, where five minutes is the shortest time between two runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.bundle.layout import UUID_PATTERN
from algaenv.gateway.apis.api_endpoint import ApiResponse, to_http
from algaenv.gateway.apis.scheduler.api import schedule_json
from algaenv.gateway.apis.scheduler.cron import CronError, next_run
from algaenv.gateway.apis.scheduler.runs import RunResult, RunSkipped, ScheduleRunner
from algaenv.gateway.db import acquire, log_failure
from algaenv.gateway.javascript import iso_timestamp

if TYPE_CHECKING:
    from algaenv.gateway.apis.scheduler.repository import ScheduleRepository, ScheduleRow
    from algaenv.gateway.state import AppState


POLL_SECONDS = 5.0
"""Rows are read again at least this often, since other processes may change them."""
MAX_DELAY = timedelta(minutes=1)
MAX_CONCURRENT = 8
MAX_RETRIES = 3
"""Of a run that fails; each is a call of its own, with another idempotency key."""

_log = logging.getLogger(__name__)

_ROWS: LiteralString = """
SELECT t.now, s.id::text, s.cron, s.timezone, s.updated_at
FROM (SELECT clock_timestamp() AS now) t LEFT JOIN tenant_extension_schedule s
  ON s.enabled AND s.tenant_id = %(tenant)s"""


@dataclass(frozen=True, slots=True)
class DueRun:
    """A schedule, and when it was to run."""

    schedule: str
    moment: datetime


def due_runs(rows: list[Mapping[str, Any]], since: datetime, now: datetime) -> Iterator[DueRun]:
    """What came due after `since`, or after the row was last changed, and is not too old."""
    for row in rows:
        moment = next_moment(row, max(since, row["updated_at"], now - MAX_DELAY))
        if moment is not None and moment <= now:
            yield DueRun(row["id"], moment)


def pause(rows: list[Mapping[str, Any]], now: datetime) -> float:
    """Seconds until the next schedule is due, or until rows should be looked at again."""
    moments = filter(None, (next_moment(row, now) for row in rows))
    return min((POLL_SECONDS, *((moment - now).total_seconds() for moment in moments)))


class SchedulerLoop:
    """The background task. Its runs end with it."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._runs = ScheduleRunner(state)
        self._semaphore = asyncio.Semaphore(MAX_CONCURRENT)

    async def run(self) -> None:
        """Read the schedules, start what is due, and pause; without end."""
        since: datetime | None = None
        known: str | None = None
        async with asyncio.TaskGroup() as running:
            while True:
                try:
                    now, rows = await self._read_schedules()
                except Exception as error:
                    # Logged once: a database that is down stays down for a while.
                    if known != str(error):
                        known = str(error)
                        _log.warning("cannot look for schedules: %s", known)
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                known = None
                for due in due_runs(rows, since or now, now):
                    running.create_task(self._run(due))
                since = now
                await asyncio.sleep(pause(rows, now))

    async def _read_schedules(self) -> tuple[datetime, list[Mapping[str, Any]]]:
        async with acquire(self._state.pool) as connection:
            cursor = await connection.execute(_ROWS, {"tenant": self._state.tenant})
            rows = await cursor.fetchall()
        return rows[0]["now"], [row for row in rows if row["id"] is not None]

    async def _run(self, it: DueRun) -> None:
        async def run(due: datetime | None) -> RunResult | RunSkipped:
            async with self._semaphore:
                return await self._runs.run(it.schedule, due)

        await run_with_retries(run, it)


async def run_with_retries(
    run: Callable[[datetime | None], Awaitable[RunResult | RunSkipped]],
    it: DueRun,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Run it, and again as long as it fails and the product's job queue would."""
    due: datetime | None = it.moment
    for number in range(1 + MAX_RETRIES):
        if number:
            await sleep(retry_delay(number))
            due = None
        fields: dict[str, object] = {"schedule": it.schedule, "retry": number}
        try:
            ended = await run(due)
        except Exception as error:
            log_failure(_log, "a schedule could not be run", error, **fields)
            continue
        if isinstance(ended, RunSkipped):
            _log.info("schedule", extra={"fields": {**fields, "skipped": ended.reason}})
            return
        _log.info("schedule", extra={"fields": {**fields, "error": ended.error}})
        if ended.error is None:
            return


def retry_delay(number: int) -> float:
    """Seconds before a retry, the first of which is 1: as pg-boss has it, twice as long each time
    and up to as much again."""
    # Not for secrets: it only keeps schedules that fail together apart.
    return float(2 ** (number - 1)) * (1 + random.random())  # noqa: S311


def next_moment(row: Mapping[str, Any], after: datetime) -> datetime | None:
    """When a schedule is due next; None for a row written by hand that cannot be read."""
    try:
        return next_run(row["cron"], row["timezone"], after)
    except CronError:
        return None


MAX_SPAN_RUNS = 1_000


class TooManyRuns(Exception):
    """A span of time holds more than MAX_SPAN_RUNS runs; those are made."""


async def run_span(
    state: AppState, schedules: ScheduleRepository, since: datetime, until: datetime
) -> list[dict[str, Any]]:
    """Make the runs that are due after `since`, up to `until`, in order, each once.

    Schedules are read anew after each run, since a handler may change them. A run that fails is
    not tried again. Returns `schedule name path due status error requestId` of each run. Raises
    TooManyRuns.
    """
    runs, ran = ScheduleRunner(state), list[dict[str, Any]]()
    cursor, done = since, set[str]()
    while True:
        rows = [it for it in await schedules.of_tenant(state.tenant) if it["enabled"]]
        coming = [(moment, it) for it in rows if (moment := _next_due(it, cursor, done))]
        moment, row = min(coming, key=lambda it: it[0], default=(until, None))
        if row is None or moment > until:
            return ran
        if len(ran) == MAX_SPAN_RUNS:
            raise TooManyRuns
        if moment > cursor:
            cursor, done = moment, set()
        done.add(row["id"])
        ended = await runs.run(row["id"])
        fields = {
            "schedule": row["id"],
            "name": row["name"],
            "path": row["path"],
            "due": iso_timestamp(moment),
        }
        if isinstance(ended, RunSkipped):
            ran.append(fields | {"status": "skipped", "error": ended.reason})
            continue
        status = "error" if ended.error else "success"
        more = {"error": ended.error, "detail": ended.detail, "requestId": ended.request_id}
        ran.append(fields | {"status": status, **more})


def _next_due(row: Mapping[str, Any], cursor: datetime, done: set[str]) -> datetime | None:
    """At the cursor itself, unless that run is `done`; else the next one after it."""
    after = cursor if row["id"] in done or not done else cursor - timedelta(seconds=1)
    return next_moment(row, after)


def admin_routes(state: AppState, schedules: ScheduleRepository) -> list[Route]:
    """`GET /algaenv/schedules` and `POST /algaenv/schedules/{id}/run`."""
    runs = ScheduleRunner(state)

    async def listed(request: Request) -> Response:  # noqa: ARG001
        rows = await schedules.of_tenant(state.tenant)
        return to_http(ApiResponse(200, {"schedules": [_listed_schedule(row) for row in rows]}))

    async def run(request: Request) -> Response:
        schedule = request.path_params["schedule_id"].lower()
        if not re.fullmatch(UUID_PATTERN, schedule):
            return to_http(ApiResponse(404, {"error": "there is no such schedule"}))
        ended = await runs.run(schedule)
        if isinstance(ended, RunSkipped):
            return to_http(ApiResponse(409, {"error": ended.reason}))
        content = {
            "status": "error" if ended.error else "success",
            "error": ended.error,
            "detail": ended.detail,
            "requestId": ended.request_id,
            "ms": ended.ms,
        }
        return to_http(ApiResponse(200, content, ended.headers or {}))

    return [
        Route("/algaenv/schedules", listed),
        Route("/algaenv/schedules/{schedule_id}/run", run, methods=["POST"]),
    ]


def _listed_schedule(row: ScheduleRow) -> dict[str, Any]:
    coming = next_moment(row, datetime.now(UTC))
    more = {"installId": row["install_id"], "extensionId": row["registry_id"]}
    return (
        schedule_json(row) | more | {"nextRunAt": iso_timestamp(coming) if row["enabled"] else None}
    )
