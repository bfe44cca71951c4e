"""`scheduler`: schedules on which the handler's endpoints are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from algaenv.runner.execute.invocation import CAP_SCHEDULER, Invocation
from algaenv.runner.host import internal_api
from algaenv.runner.host.internal_api import (
    Fields,
    HostCallError,
    InternalApi,
    MalformedResponse,
    as_object,
    bool_field,
    camel_case,
    list_field,
    raw_field,
    required_text,
    text_field,
)
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.wit import Err

NAMES = {
    400: "validation-failed",
    401: "denied",
    403: "denied",
    404: "not-found",
    429: "quota-exceeded",
}
ERRORS = ("not-found", "validation-failed", "quota-exceeded", "denied", "internal")
"""scheduler-error in the order of the world."""
BAD_PAYLOAD = "Payload must be valid JSON object or array"
"""For what is no JSON at all; any JSON passes."""

_Record = dict[str, Any]


class Scheduler:
    """Asks the application server.

    The functions that return a record say there what went wrong; a refusal of the server shows
    as the name of an error, in the words of Alga's runner.
    """

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._api = InternalApi("scheduler", NAMES, host_settings=host_settings, outbound=outbound)

    def list_schedules(self, invocation: Invocation) -> list[_Record] | Err:
        """schedule-info of all; what cannot be read is left out."""
        return self._list(invocation, "list", "schedules", _schedule)

    def get_endpoints(self, invocation: Invocation) -> list[_Record] | Err:
        """endpoint-info of all; what cannot be read is left out."""
        return self._list(invocation, "getEndpoints", "endpoints", _endpoint)

    def get_schedule(self, invocation: Invocation, identity: str) -> _Record | Err | None:
        """schedule-info, or None when there is none that can be read."""
        try:
            reply = self._call(invocation, "get", {"scheduleId": identity})
        except HostCallError as error:
            return Err(error.name)
        try:
            return _schedule(as_object(as_object(reply).get("schedule")))
        except MalformedResponse:
            return None

    def create_schedule(self, invocation: Invocation, arguments: _Record) -> _Record:
        """create-schedule-result."""
        reply = self._change(invocation, "create", {}, arguments)
        identity = reply.pop("identity")
        return {"success": reply["success"], "schedule_id": identity} | reply

    def update_schedule(self, invocation: Invocation, identity: str, arguments: _Record) -> _Record:
        """update-schedule-result."""
        reply = self._change(invocation, "update", {"scheduleId": identity}, arguments)
        del reply["identity"]
        return reply

    def delete_schedule(self, invocation: Invocation, identity: str) -> _Record:
        """delete-schedule-result."""
        reply = self._change(invocation, "delete", {"scheduleId": identity}, {})
        return {"success": reply["success"], "error": reply["error"]}

    def _list(
        self,
        invocation: Invocation,
        operation: str,
        name: str,
        read: Callable[[Fields], _Record],
    ) -> list[_Record] | Err:
        try:
            reply = self._call(invocation, operation, {})
        except HostCallError as error:
            return Err(error.name)
        readable = []
        for item in list_field(reply, name) if isinstance(reply, dict) else []:
            try:
                readable.append(read(as_object(item)))
            except MalformedResponse:
                continue
        return readable

    def _change(
        self, invocation: Invocation, operation: str, parameters: Fields, arguments: _Record
    ) -> _Record:
        if CAP_SCHEDULER not in invocation.capabilities:
            return _failed(f"Permission denied: {CAP_SCHEDULER} not granted")
        if invocation.install is None:
            return _failed("Install ID missing")
        fields = {**parameters}
        for name, value in arguments.items():
            if value is not None:
                fields[camel_case(name)] = value
        try:
            if "payload" in fields:
                fields["payload"] = internal_api.parse_json(arguments["payload"])
        except ValueError:
            return _failed(BAD_PAYLOAD, internal_api.dump_json({"payload": BAD_PAYLOAD}))
        try:
            reply = self._call(invocation, operation, fields)
        except HostCallError as error:
            return _failed(_error_text(error.name), _error_fields(error.body))
        known = reply if isinstance(reply, dict) else {}
        return {
            "success": bool_field(known, "success", default=False),
            "identity": text_field(known, "schedule_id"),
            "error": text_field(known, "error"),
            "field_errors": _field_errors(known),
        }

    def _call(self, invocation: Invocation, operation: str, fields: Fields) -> object:
        if CAP_SCHEDULER not in invocation.capabilities or invocation.install is None:
            raise HostCallError("denied")
        return self._api.call(invocation, operation, fields)


def _failed(error: str, field_errors: str | None = None) -> _Record:
    return {"success": False, "identity": None, "error": error, "field_errors": field_errors}


def _error_text(name: str) -> str:
    return f'SchedulerError {{ code: {ERRORS.index(name)}, name: "{name}", message: "" }}'


def _error_fields(body: bytes) -> str | None:
    """What a refusal says of single fields."""
    try:
        return _field_errors(as_object(internal_api.parse_json(body)))
    except (ValueError, MalformedResponse):
        return None


def _field_errors(fields: Fields) -> str | None:
    if not {"fieldErrors", "field_errors"} & fields.keys():
        return None
    return internal_api.dump_json(raw_field(fields, "field_errors"))


def _schedule(fields: Fields) -> _Record:
    enabled = raw_field(fields, "enabled")
    if not isinstance(enabled, bool):
        raise MalformedResponse("enabled")
    payload = raw_field(fields, "payload")
    return {
        "id": required_text(fields, "id"),
        "endpoint_path": required_text(fields, "endpoint_path"),
        "endpoint_method": required_text(fields, "endpoint_method"),
        "name": text_field(fields, "name"),
        "cron": required_text(fields, "cron"),
        "timezone": required_text(fields, "timezone"),
        "enabled": enabled,
        "payload": payload
        if payload is None or isinstance(payload, str)
        else internal_api.dump_json(payload),
        "last_run_at": text_field(fields, "last_run_at"),
        "last_run_status": text_field(fields, "last_run_status"),
        "last_error": text_field(fields, "last_error"),
        "created_at": text_field(fields, "created_at"),
    }


def _endpoint(fields: Fields) -> _Record:
    schedulable = raw_field(fields, "schedulable")
    if not isinstance(schedulable, bool):
        raise MalformedResponse("schedulable")
    return {
        "id": required_text(fields, "id"),
        "method": required_text(fields, "method"),
        "path": required_text(fields, "path"),
        "handler": required_text(fields, "handler"),
        "schedulable": schedulable,
    }
