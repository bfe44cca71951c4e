"""Schedules for the author: all of them with their next run, and one run at once.

Nothing like this is in the product; the shortest time between two runs there is five minutes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.bundle.ids import UUID_PATTERN
from algaenv.gateway.internal.door import Said, answer
from algaenv.gateway.internal.moments import spelled
from algaenv.gateway.internal.scheduler.runs import Runs, Skipped
from algaenv.gateway.internal.scheduler.scheduler import info
from algaenv.gateway.internal.scheduler.timetable import BadTimetable, following

if TYPE_CHECKING:
    from algaenv.gateway.house import House
    from algaenv.gateway.internal.scheduler.schedules import Row, Schedules


def desk(house: House, schedules: Schedules) -> list[Route]:
    """`GET /algaenv/schedules` and `POST /algaenv/schedules/{id}/run`."""
    runs = Runs(house)

    async def listed(request: Request) -> Response:  # noqa: ARG001
        rows = await schedules.of_tenant(house.environment.tenant)
        return answer(Said(200, {"schedules": [_shown(row) for row in rows]}))

    async def run(request: Request) -> Response:
        schedule = request.path_params["schedule_id"].lower()
        if not re.fullmatch(UUID_PATTERN, schedule):
            return answer(Said(404, {"error": "there is no such schedule"}))
        ended = await runs.run(schedule)
        if isinstance(ended, Skipped):
            return answer(Said(409, {"error": ended.why}))
        content = {
            "status": "error" if ended.error else "success",
            "error": ended.error,
            "detail": ended.detail,
            "requestId": ended.request_id,
            "ms": ended.ms,
        }
        return answer(Said(200, content, ended.faults or {}))

    return [
        Route("/algaenv/schedules", listed),
        Route("/algaenv/schedules/{schedule_id}/run", run, methods=["POST"]),
    ]


def _shown(row: Row) -> dict[str, Any]:
    try:
        coming = following(row["cron"], row["timezone"], datetime.now(UTC))
    except BadTimetable:
        coming = None
    more = {"installId": row["install_id"], "extensionId": row["registry_id"]}
    return info(row) | more | {"nextRunAt": spelled(coming) if row["enabled"] else None}
