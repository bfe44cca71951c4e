"""The scheduler of extensions: one route, six operations on the schedules of an install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from algaenv.gateway.internal.door import Call, Said
from algaenv.gateway.internal.moments import spelled
from algaenv.gateway.internal.refusal import Invalid, Refused, shaped
from algaenv.gateway.internal.scheduler import rules
from algaenv.gateway.internal.scheduler.asked import Create, One, Operation, Update
from algaenv.gateway.internal.scheduler.endpoints import Endpoints
from algaenv.gateway.internal.scheduler.rate import Rate
from algaenv.gateway.internal.scheduler.schedules import Fields, Row, Schedules

if TYPE_CHECKING:
    from algaenv.gateway.faults import Faults
    from algaenv.gateway.installs import Install, Installs

ARRAYS = "scheduler-array-payload"

_CHANGES = frozenset(("create", "update", "delete"))
_NO_ENDPOINT = "No such endpoint, or none that can be scheduled"
_NO_SCHEDULE = "No such schedule"


class Scheduler:
    """Answers what runners ask for on behalf of a handler. No capability is asked for here."""

    name = "scheduler"

    def __init__(
        self,
        installs: Installs,
        schedules: Schedules,
        endpoints: Endpoints,
        faults: Faults,
        rate: Rate,
    ) -> None:
        self._installs = installs
        self._schedules = schedules
        self._endpoints = endpoints
        self._faults = faults
        self._rate = rate

    async def answer(self, call: Call) -> Said:
        """See `door.Api`."""
        operation = shaped(Operation, call.body).operation
        if operation in _CHANGES and not self._rate.allows(call.install_id):
            raise Refused("RATE_LIMITED", "Schedules may be changed ten times a minute")
        install = await self._installs.get(call.install_id)
        if install is None:
            raise Refused("NOT_FOUND", "There is no such install")
        call.extension = install.registry_id
        match operation:
            case "list":
                rows = await self._schedules.all(install)
                return Said(200, {"schedules": [info(it) for it in rows]})
            case "get":
                found = await self._schedules.find(install, self._id(call))
                return Said(200, {"schedule": info(found) if found else None})
            case "getEndpoints":
                return Said(200, {"endpoints": await self._listed(install)})
        try:
            match operation:
                case "create":
                    return await self._create(call, install, shaped(Create, call.body))
                case "update":
                    return await self._update(call, install, shaped(Update, call.body))
                case _:
                    found_one = await self._schedules.remove(install, self._id(call))
                    return _done(200) if found_one else _not_done(_NO_SCHEDULE)
        except rules.BadField as error:
            return _not_done(str(error), {error.field: str(error)})

    def refusal(self, error: Refused | Invalid) -> Said:
        """See `door.Api`."""
        if isinstance(error, Invalid):
            return Said(400, {"error": "Validation error", "details": error.details})
        content = {"error": error.message, "code": error.code, "details": error.details}
        return Said(error.status, content)

    def _id(self, call: Call) -> str:
        call.about = shaped(One, call.body).scheduleId
        return call.about

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

    async def _create(self, call: Call, install: Install, asked: Create) -> Said:
        call.about = asked.endpoint
        columns: dict[str, object] = {
            "cron": rules.check_cron(asked.cron),
            "timezone": rules.check_timezone(asked.timezone),
            "enabled": asked.enabled,
            "payload_json": rules.check_payload(asked.payload),
            "name": rules.check_name(asked.name),
        }
        endpoint = await self._endpoints.find(install, asked.endpoint)
        if endpoint is None:
            return _not_done(_NO_ENDPOINT, {"endpoint": _NO_ENDPOINT})
        if await self._schedules.count(install) >= rules.MOST_SCHEDULES:
            return _not_done(f"An extension has at most {rules.MOST_SCHEDULES} schedules")
        columns["endpoint_id"] = endpoint.id
        headers = self._spoil(install, columns)
        if "payload_json" not in columns:
            return _not_done(_refused_insert(columns), headers=headers)
        made = await self._schedules.add(install, Fields(columns))
        return _done(201, {"scheduleId": made}, headers)

    async def _update(self, call: Call, install: Install, asked: Update) -> Said:
        call.about = asked.scheduleId
        given = asked.model_fields_set
        columns: dict[str, object] = {}
        if asked.cron:
            columns["cron"] = rules.check_cron(asked.cron)
        if asked.timezone:
            columns["timezone"] = rules.check_timezone(asked.timezone)
        if "payload" in given:
            columns["payload_json"] = rules.check_payload(asked.payload)
        if await self._schedules.find(install, asked.scheduleId) is None:
            return _not_done(_NO_SCHEDULE)
        if asked.endpoint:
            endpoint = await self._endpoints.find(install, asked.endpoint)
            if endpoint is None:
                return _not_done(_NO_ENDPOINT, {"endpoint": _NO_ENDPOINT})
            columns["endpoint_id"] = endpoint.id
        if "name" in given:
            columns["name"] = rules.check_name(asked.name)
        if "enabled" in given:
            columns["enabled"] = asked.enabled
        headers = self._spoil(install, columns)
        if "payload" in given and "payload_json" not in columns:
            return _not_done(_refused_update(), headers=headers)
        if not await self._schedules.change(install, asked.scheduleId, Fields(columns)):
            return _not_done(_NO_SCHEDULE)
        return _done(200, headers=headers)

    def _spoil(self, install: Install, columns: dict[str, object]) -> dict[str, str]:
        """What the product's driver does to an array: it becomes an array of PostgreSQL.

        As JSON that is nothing at all, and the column is taken out here; but an empty one is
        spelled `{}`, which is an empty object.
        """
        payload = columns.get("payload_json")
        if not isinstance(payload, list) or not self._faults.reproduces(ARRAYS):
            return {}
        if payload:
            del columns["payload_json"]
        else:
            columns["payload_json"] = {}
        return self._faults.announce(ARRAYS, extension=install.registry_id)


def info(row: Row) -> dict[str, Any]:
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
        "lastRunAt": spelled(row["last_run_at"]),
        "lastRunStatus": row["last_run_status"],
        "lastError": row["last_error"],
        "createdAt": spelled(row["created_at"]),
    }


def _done(
    status: int, more: dict[str, object] | None = None, headers: dict[str, str] | None = None
) -> Said:
    return Said(status, {"success": True, **(more or {})}, headers or {})


def _not_done(
    error: str, fields: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Said:
    content: dict[str, object] = {"success": False, "error": error}
    return Said(400, content | ({"fieldErrors": fields} if fields else {}), headers or {})


def _refused_insert(columns: dict[str, object]) -> str:
    names = ", ".join(f'"{it}"' for it in sorted((*columns, "payload_json")))
    places = ", ".join(f"${it}" for it in range(1, len(columns) + 2))
    return (
        f'insert into "tenant_extension_schedule" ({names}) values ({places})'  # noqa: S608
        " - invalid input syntax for type json"
    )


def _refused_update() -> str:
    return (
        'update "tenant_extension_schedule" set "payload_json" = $1 where "id" = $2'
        " - invalid input syntax for type json"
    )
