"""Runs schedules when they are due, for as long as the service lives.

The clock is the database's, so that the times of rows and the time of day are one time. What is
due while nobody looked for more than a minute is lost, as in the product.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.gateway.internal.scheduler.runs import Runs
from algaenv.gateway.internal.scheduler.timetable import BadTimetable, following
from algaenv.gateway.pool import connected

if TYPE_CHECKING:
    from algaenv.gateway.house import House

LOOK_SECONDS = 5.0
"""After so long rows are read again at the latest: somebody may have changed them."""
LATEST = timedelta(minutes=1)
MOST_AT_ONCE = 8

_log = logging.getLogger(__name__)

_ROWS: LiteralString = """
SELECT t.now, s.id::text, s.cron, s.timezone, s.updated_at
FROM (SELECT clock_timestamp() AS now) t LEFT JOIN tenant_extension_schedule s
  ON s.enabled AND s.tenant_id = %(tenant)s"""


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule, and when it was to run."""

    schedule: str
    moment: datetime


def due(rows: list[Mapping[str, Any]], since: datetime, now: datetime) -> Iterator[Due]:
    """What came due after `since`, or after the row was last changed, and is not too old."""
    for row in rows:
        moment = _next(row, max(since, row["updated_at"], now - LATEST))
        if moment is not None and moment <= now:
            yield Due(row["id"], moment)


def pause(rows: list[Mapping[str, Any]], now: datetime) -> float:
    """Seconds until the next schedule is due, or until rows should be looked at again."""
    moments = filter(None, (_next(row, now) for row in rows))
    return min((LOOK_SECONDS, *((moment - now).total_seconds() for moment in moments)))


class Clockwork:
    """The chore. Its runs end with it."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._runs = Runs(house)
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def work(self) -> None:
        """Look, run what is due, and pause; for ever."""
        since: datetime | None = None
        known: str | None = None
        async with asyncio.TaskGroup() as running:
            while True:
                try:
                    now, rows = await self._look()
                except Exception as error:
                    # Said once: a database that is down stays so for a while.
                    if known != str(error):
                        known = str(error)
                        _log.warning("cannot look for schedules: %s", known)
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                known = None
                for each in due(rows, since or now, now):
                    running.create_task(self._run(each))
                since = now
                await asyncio.sleep(pause(rows, now))

    async def _look(self) -> tuple[datetime, list[Mapping[str, Any]]]:
        async with connected(self._house.pool) as connection:
            cursor = await connection.execute(_ROWS, {"tenant": self._house.environment.tenant})
            rows = await cursor.fetchall()
        return rows[0]["now"], [row for row in rows if row["id"] is not None]

    async def _run(self, it: Due) -> None:
        async with self._room:
            try:
                ended = await self._runs.run(it.schedule, it.moment)
                _log.info(
                    "schedule", extra={"fields": {"schedule": it.schedule, "end": str(ended)}}
                )
            except Exception:
                _log.exception("a schedule could not be run")


def _next(row: Mapping[str, Any], after: datetime) -> datetime | None:
    """None also for a row that somebody wrote by hand and nobody understands."""
    try:
        return following(row["cron"], row["timezone"], after)
    except BadTimetable:
        return None
