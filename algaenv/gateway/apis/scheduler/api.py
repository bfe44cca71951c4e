"""The scheduler API: one route, six operations on the schedules of an install."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from algaenv.bundle.layout import UUID_PATTERN
from algaenv.gateway.apis.api_endpoint import (
    ApiCall,
    ApiError,
    ApiResponse,
    InvalidBody,
    iso_timestamp,
    parse_body,
)
from algaenv.gateway.apis.scheduler import cron
from algaenv.gateway.apis.scheduler.repository import (
    EndpointRepository,
    ScheduleColumns,
    ScheduleRepository,
    ScheduleRow,
)

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install, Installs
    from algaenv.gateway.quirks import Quirks


Id = Annotated[str, Field(pattern=rf"^(?i:{UUID_PATTERN})$")]


class SchedulerOperation(BaseModel):
    """What every body has. Strict about types, blind to fields it does not know."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    operation: Literal["list", "get", "create", "update", "delete", "getEndpoints"]


class ScheduleRequest(SchedulerOperation):
    """Read or delete one schedule."""

    scheduleId: Id


class CreateRequest(SchedulerOperation):
    """Make one."""

    endpoint: Annotated[str, Field(min_length=1, max_length=256)]
    cron: Annotated[str, Field(min_length=1, max_length=128)]
    timezone: Annotated[str, Field(max_length=64)] = ""
    enabled: StrictBool = True
    name: Annotated[str, Field(max_length=128)] = ""
    payload: Any = None


class UpdateRequest(ScheduleRequest):
    """Change those fields that are given; `model_fields_set` knows which."""

    endpoint: Annotated[str, Field(min_length=1, max_length=256)] = ""
    cron: Annotated[str, Field(min_length=1, max_length=128)] = ""
    timezone: Annotated[str, Field(max_length=64)] = ""
    enabled: StrictBool = True
    name: Annotated[str, Field(max_length=128)] | None = None
    payload: Any = None


MAX_CHANGES = 10
CHANGES_SECONDS = 60.0


class ChangeLimiter:
    """Counts changes by install, at most MAX_CHANGES within CHANGES_SECONDS of the first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: dict[str, tuple[float, int]] = {}

    def allows(self, install: str) -> bool:
        """Count one change, unless there were ten in this minute already."""
        now = self._clock()
        self._minutes = {
            each: minute
            for each, minute in self._minutes.items()
            if now - minute[0] <= CHANGES_SECONDS
        }
        began, count = self._minutes.get(install, (now, 0))
        if count >= MAX_CHANGES:
            return False
        self._minutes[install] = began, count + 1
        return True


ARRAY_QUIRK = "scheduler-array-payload"

_CHANGES = frozenset(("create", "update", "delete"))
_NO_ENDPOINT = "No such endpoint, or none that can be scheduled"
_NO_SCHEDULE = "No such schedule"


class SchedulerApi:
    """Handles calls of runners on behalf of a handler. No capability is needed."""

    name = "scheduler"

    def __init__(
        self,
        installs: Installs,
        schedules: ScheduleRepository,
        endpoints: EndpointRepository,
        quirks: Quirks,
        rate: ChangeLimiter,
    ) -> None:
        self._installs = installs
        self._schedules = schedules
        self._endpoints = endpoints
        self._quirks = quirks
        self._rate = rate

    async def handle(self, call: ApiCall) -> ApiResponse:
        """See `Api`."""
        operation = parse_body(SchedulerOperation, call.body).operation
        if operation in _CHANGES and not self._rate.allows(call.install_id):
            raise ApiError("RATE_LIMITED", "Schedules may be changed ten times a minute")
        install = await self._installs.get(call.install_id)
        if install is None:
            raise ApiError("NOT_FOUND", "There is no such install")
        call.extension = install.registry_id
        match operation:
            case "list":
                rows = await self._schedules.all(install)
                return ApiResponse(200, {"schedules": [schedule_json(it) for it in rows]})
            case "get":
                found = await self._schedules.find(install, self._id(call))
                return ApiResponse(200, {"schedule": schedule_json(found) if found else None})
            case "getEndpoints":
                return ApiResponse(200, {"endpoints": await self._listed(install)})
        try:
            match operation:
                case "create":
                    return await self._create(call, install, parse_body(CreateRequest, call.body))
                case "update":
                    return await self._update(call, install, parse_body(UpdateRequest, call.body))
                case _:
                    found_one = await self._schedules.remove(install, self._id(call))
                    return _success(200) if found_one else _failure(_NO_SCHEDULE)
        except cron.InvalidField as error:
            return _failure(str(error), {error.field: str(error)})

    def refusal(self, error: ApiError | InvalidBody) -> ApiResponse:
        """See `Api`."""
        if isinstance(error, InvalidBody):
            return ApiResponse(400, {"error": "Validation error", "details": error.details})
        content = {"error": error.message, "code": error.code, "details": error.details}
        return ApiResponse(error.status, content)

    def _id(self, call: ApiCall) -> str:
        call.subject = parse_body(ScheduleRequest, call.body).scheduleId
        return call.subject

    async def _listed(self, install: Install) -> list[dict[str, Any]]:
        return [
            {
                "id": it.id,
                "method": it.method,
                "path": it.path,
                "handler": it.handler,
                "schedulable": it.schedulable,
            }
            for it in await self._endpoints.all(install)
        ]

    async def _create(self, call: ApiCall, install: Install, request: CreateRequest) -> ApiResponse:
        call.subject = request.endpoint
        columns: dict[str, object] = {
            "cron": cron.check_cron(request.cron),
            "timezone": cron.check_timezone(request.timezone),
            "enabled": request.enabled,
            "payload_json": cron.check_payload(request.payload),
            "name": cron.check_name(request.name),
        }
        endpoint = await self._endpoints.find(install, request.endpoint)
        if endpoint is None:
            return _failure(_NO_ENDPOINT, {"endpoint": _NO_ENDPOINT})
        if await self._schedules.count(install) >= cron.MAX_SCHEDULES:
            return _failure(f"An extension has at most {cron.MAX_SCHEDULES} schedules")
        columns["endpoint_id"] = endpoint.id
        headers = self._reproduce_array_quirk(install, columns)
        if "payload_json" not in columns:
            return _failure(_insert_error(columns), headers=headers)
        made = await self._schedules.add(install, ScheduleColumns(columns))
        return _success(201, {"scheduleId": made}, headers)

    async def _update(self, call: ApiCall, install: Install, request: UpdateRequest) -> ApiResponse:
        call.subject = request.scheduleId
        given = request.model_fields_set
        columns: dict[str, object] = {}
        if request.cron:
            columns["cron"] = cron.check_cron(request.cron)
        if request.timezone:
            columns["timezone"] = cron.check_timezone(request.timezone)
        if "payload" in given:
            columns["payload_json"] = cron.check_payload(request.payload)
        if await self._schedules.find(install, request.scheduleId) is None:
            return _failure(_NO_SCHEDULE)
        if request.endpoint:
            endpoint = await self._endpoints.find(install, request.endpoint)
            if endpoint is None:
                return _failure(_NO_ENDPOINT, {"endpoint": _NO_ENDPOINT})
            columns["endpoint_id"] = endpoint.id
        if "name" in given:
            columns["name"] = cron.check_name(request.name)
        if "enabled" in given:
            columns["enabled"] = request.enabled
        headers = self._reproduce_array_quirk(install, columns)
        if "payload" in given and "payload_json" not in columns:
            return _failure(_update_error(), headers=headers)
        if not await self._schedules.change(install, request.scheduleId, ScheduleColumns(columns)):
            return _failure(_NO_SCHEDULE)
        return _success(200, headers=headers)

    def _reproduce_array_quirk(
        self, install: Install, columns: dict[str, object]
    ) -> dict[str, str]:
        """What the product's driver does to an array: it becomes an array of PostgreSQL.

        As JSON that is nothing at all, and the column is taken out here; but an empty one is
        spelled `{}`, which is an empty object.
        """
        payload = columns.get("payload_json")
        if not isinstance(payload, list) or not self._quirks.reproduces(ARRAY_QUIRK):
            return {}
        if payload:
            del columns["payload_json"]
        else:
            columns["payload_json"] = {}
        return self._quirks.announce(ARRAY_QUIRK, extension=install.registry_id)


def schedule_json(row: ScheduleRow) -> dict[str, Any]:
    """A schedule as extensions see it."""
    return {
        "id": row["id"],
        "endpointPath": row["path"],
        "endpointMethod": row["method"],
        "name": row["name"],
        "cron": row["cron"],
        "timezone": row["timezone"],
        "enabled": row["enabled"],
        "payload": row["payload_json"],
        "lastRunAt": iso_timestamp(row["last_run_at"]),
        "lastRunStatus": row["last_run_status"],
        "lastError": row["last_error"],
        "createdAt": iso_timestamp(row["created_at"]),
    }


def _success(
    status: int, more: dict[str, object] | None = None, headers: dict[str, str] | None = None
) -> ApiResponse:
    return ApiResponse(status, {"success": True, **(more or {})}, headers or {})


def _failure(
    error: str, fields: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> ApiResponse:
    content: dict[str, object] = {"success": False, "error": error}
    return ApiResponse(400, content | ({"fieldErrors": fields} if fields else {}), headers or {})


def _insert_error(columns: dict[str, object]) -> str:
    names = ", ".join(f'"{it}"' for it in sorted((*columns, "payload_json")))
    places = ", ".join(f"${it}" for it in range(1, len(columns) + 2))
    return (
        f'insert into "tenant_extension_schedule" ({names}) values ({places})'  # noqa: S608
        " - invalid input syntax for type json"
    )


def _update_error() -> str:
    return (
        'update "tenant_extension_schedule" set "payload_json" = $1 where "id" = $2'
        " - invalid input syntax for type json"
    )
