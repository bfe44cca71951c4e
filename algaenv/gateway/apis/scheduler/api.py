"""The scheduler API: one route, six operations on the schedules of an install."""

from __future__ import annotations

import re
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
    InvalidJson,
    Refusal,
    installed,
    length,
    parse_body,
)
from algaenv.gateway.apis.scheduler import cron
from algaenv.gateway.apis.scheduler.repository import (
    EndpointRepository,
    ScheduleColumns,
    ScheduleRepository,
    ScheduleRow,
)
from algaenv.gateway.javascript import iso_timestamp

if TYPE_CHECKING:
    import psycopg

    from algaenv.gateway.installs import Install, Installs
    from algaenv.gateway.quirks import Quirks


Id = Annotated[str, Field(pattern=rf"^(?i:{UUID_PATTERN})$")]
Selector = Annotated[str, Field(min_length=1, max_length=256), length(1, 256)]
Cron = Annotated[str, Field(min_length=1, max_length=128), length(1, 128)]
Timezone = Annotated[str, Field(max_length=64), length(0, 64)]
Name = Annotated[str, Field(max_length=128), length(0, 128)]


class SchedulerOperation(BaseModel):
    """What every body has. Strict about types, blind to fields it does not know."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    operation: Literal["list", "get", "create", "update", "delete", "getEndpoints"]


class ScheduleRequest(SchedulerOperation):
    """Read or delete one schedule."""

    scheduleId: Id


class CreateRequest(SchedulerOperation):
    """Make one."""

    endpoint: Selector
    cron: Cron
    timezone: Timezone = ""
    enabled: StrictBool = True
    name: Name = ""
    payload: Any = None


class UpdateRequest(ScheduleRequest):
    """Change those fields that are given; `model_fields_set` knows which."""

    endpoint: Selector = ""
    cron: Cron = ""
    timezone: Timezone = ""
    enabled: StrictBool = True
    name: Name | None = None
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
ERASE_QUIRK = "scheduler-update-erases"

_CHANGES = frozenset(("create", "update", "delete"))
_NO_ENDPOINT = "Endpoint not found or not schedulable"
_NO_SCHEDULE = "Schedule not found"
_NO_ID = "Invalid scheduleId"
_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
"""Of version 1 to 5: what the product looks for among its schedules."""


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
        import psycopg

        operation = parse_body(SchedulerOperation, call.body).operation
        if operation in _CHANGES and not self._rate.allows(call.install_id):
            raise ApiError("RATE_LIMITED", "Too many requests, please try again later")
        install = await installed(self._installs, call)
        if install is None:
            raise ApiError("NOT_FOUND", "Install not found")
        match operation:
            case "list":
                rows = await self._schedules.all(install)
                return ApiResponse(200, {"schedules": [schedule_json(it) for it in rows]})
            case "get":
                asked = self._id(call)
                known = _ID.fullmatch(asked) is not None
                found = await self._schedules.find(install, asked) if known else None
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
                    return await self._delete(install, self._id(call))
        except cron.InvalidField as error:
            return _failure(str(error), {error.field: str(error)})
        except psycopg.DataError as error:
            return _failure(_database_error(error))

    def refusal(self, error: Refusal) -> ApiResponse:
        """See `Api`."""
        if isinstance(error, InvalidJson):
            error = ApiError("VALIDATION_FAILED", "Invalid JSON body")
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
        import psycopg

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
            return _failure(f"Too many schedules (max {cron.MAX_SCHEDULES} per extension install)")
        if request.enabled:
            cron.check_fires(str(columns["cron"]), str(columns["timezone"]))
        columns["endpoint_id"] = endpoint.id
        headers = self._reproduce_array_quirk(install, columns)
        if "payload_json" not in columns:
            return _failure(f"{_INSERT} - {_NOT_JSON}", headers=headers)
        try:
            made = await self._schedules.add(install, ScheduleColumns(columns))
        except psycopg.DataError as error:
            return _failure(f"{_INSERT} - {_database_error(error)}")
        return _success(201, {"scheduleId": made}, headers)

    async def _update(self, call: ApiCall, install: Install, request: UpdateRequest) -> ApiResponse:
        import psycopg

        call.subject = request.scheduleId
        if not _ID.fullmatch(request.scheduleId):
            raise cron.InvalidField("scheduleId", _NO_ID)
        columns: dict[str, object] = {}
        if request.cron:
            columns["cron"] = cron.check_cron(request.cron)
        if request.timezone:
            columns["timezone"] = cron.check_timezone(request.timezone)
        payload = cron.check_payload(request.payload)
        found = await self._schedules.stored(install, request.scheduleId)
        if found is None:
            return _failure(_NO_SCHEDULE)
        if request.endpoint:
            endpoint = await self._endpoints.find(install, request.endpoint)
            if endpoint is None:
                return _failure(_NO_ENDPOINT, {"endpoint": _NO_ENDPOINT})
            columns["endpoint_id"] = endpoint.id
        given = {
            "name": cron.check_name(request.name),
            "payload": payload,
            "enabled": request.enabled,
        }
        for name in request.model_fields_set | self._erased():
            if name in given:
                columns["payload_json" if name == "payload" else name] = given[name]
        moved = any(
            name in columns and columns[name] != found[name]
            for name in ("cron", "timezone", "enabled")
        )
        after = {**found, **columns}
        if moved and after["enabled"]:
            cron.check_fires(after["cron"], after["timezone"])
        headers = self._reproduce_array_quirk(install, columns)
        if payload is not None and "payload_json" not in columns:
            statement = _update_statement(columns, moved=moved)
            return _failure(f"{statement} - {_NOT_JSON}", headers=headers)
        fields = ScheduleColumns(columns)
        try:
            changed = await self._schedules.change(install, request.scheduleId, fields)
        except psycopg.DataError as error:
            statement = _update_statement(columns, moved=moved)
            return _failure(f"{statement} - {_database_error(error)}")
        if not changed:
            return _failure(_NO_SCHEDULE)
        return _success(200, headers=self._announce_erased(install, found, request) | headers)

    async def _delete(self, install: Install, schedule: str) -> ApiResponse:
        if not _ID.fullmatch(schedule):
            return _failure(_NO_ID)
        found = await self._schedules.remove(install, schedule)
        return _success(200) if found else _failure(_NO_SCHEDULE)

    def _erased(self) -> frozenset[str]:
        """What an update sets to null where it is not sent."""
        reproduced = self._quirks.reproduces(ERASE_QUIRK)
        return frozenset(("name", "payload")) if reproduced else frozenset()

    def _announce_erased(
        self, install: Install, found: ScheduleRow, request: UpdateRequest
    ) -> dict[str, str]:
        """Headers, where something got lost."""
        columns = {"name": "name", "payload": "payload_json"}
        lost = self._erased() - request.model_fields_set
        if all(found[columns[name]] is None for name in lost):
            return {}
        return self._quirks.announce(ERASE_QUIRK, extension=install.registry_id)

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


_NOT_JSON = "invalid input syntax for type json"
"""What PostgreSQL says of an array that the product's driver spelled."""
_INSERT = (
    'insert into "tenant_extension_schedule" ("created_at", "cron", "enabled", "endpoint_id", "id",'
    ' "install_id", "job_id", "name", "payload_json", "runner_schedule_id", "tenant_id",'
    ' "timezone", "updated_at") values (CURRENT_TIMESTAMP, $1, $2, $3, $4, $5, $6, $7, $8, $9,'
    " $10, $11, CURRENT_TIMESTAMP)"
)
"""The product's statement: it hands it on with the error of the database."""


def _update_statement(columns: dict[str, object], *, moved: bool) -> str:
    """The same for an update; one that moves runs also sets the columns of the job queue."""
    order = ("endpoint_id", "cron", "timezone", "name", "payload_json", "enabled")
    names = [it for it in order if it in columns or it == "payload_json"]
    names += ["job_id", "runner_schedule_id"] if moved else []
    changes = "".join(f', "{name}" = ${place}' for place, name in enumerate(names, 1))
    after = len(names)
    return (
        f'update "tenant_extension_schedule" set "updated_at" = CURRENT_TIMESTAMP{changes}'  # noqa: S608
        f' where "tenant_extension_schedule"."tenant_id" = ${after + 1}'
        f' and "id" = ${after + 2} and "install_id" = ${after + 3}'
    )


def _database_error(error: psycopg.DataError) -> str:
    """What PostgreSQL says of it; of U+0000, which never gets there, what it would say."""
    return error.diag.message_primary or 'invalid byte sequence for encoding "UTF8": 0x00'
