"""`scheduler`: when the handler's endpoints are called without anybody asking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from algaenv.runner.execute.invocation import CAP_SCHEDULER, Invocation
from algaenv.runner.host import internal_api
from algaenv.runner.host.internal_api import (
    Fields,
    InternalApi,
    Malformed,
    Refusal,
    camel,
    flag,
    listing,
    mapping,
    needed,
    raw,
    text,
)
from algaenv.runner.host.settings import Peers
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
"""Said of what is no JSON at all; any JSON passes."""

_Record = dict[str, Any]


class Scheduler:
    """Asks the application server.

    The functions that return a record say there what went wrong; a refusal of the server shows
    as the name of an error, in the words of Alga's runner.
    """

    def __init__(self, peers: Peers, outbound: Outbound) -> None:
        self._api = InternalApi("scheduler", NAMES, peers=peers, outbound=outbound)

    def list_schedules(self, invocation: Invocation) -> list[_Record] | Err:
        """schedule-info of all; what cannot be read is left out."""
        return self._listed(invocation, "list", "schedules", _schedule)

    def get_endpoints(self, invocation: Invocation) -> list[_Record] | Err:
        """endpoint-info of all; what cannot be read is left out."""
        return self._listed(invocation, "getEndpoints", "endpoints", _endpoint)

    def get_schedule(self, invocation: Invocation, identity: str) -> _Record | Err | None:
        """schedule-info, or None when there is none that can be read."""
        try:
            said = self._ask(invocation, "get", {"scheduleId": identity})
        except Refusal as refusal:
            return Err(refusal.name)
        try:
            return _schedule(mapping(mapping(said).get("schedule")))
        except Malformed:
            return None

    def create_schedule(self, invocation: Invocation, wanted: _Record) -> _Record:
        """create-schedule-result."""
        said = self._changed(invocation, "create", {}, wanted)
        identity = said.pop("identity")
        return {"success": said["success"], "schedule_id": identity} | said

    def update_schedule(self, invocation: Invocation, identity: str, wanted: _Record) -> _Record:
        """update-schedule-result."""
        said = self._changed(invocation, "update", {"scheduleId": identity}, wanted)
        del said["identity"]
        return said

    def delete_schedule(self, invocation: Invocation, identity: str) -> _Record:
        """delete-schedule-result."""
        said = self._changed(invocation, "delete", {"scheduleId": identity}, {})
        return {"success": said["success"], "error": said["error"]}

    def _listed(
        self,
        invocation: Invocation,
        operation: str,
        name: str,
        read: Callable[[Fields], _Record],
    ) -> list[_Record] | Err:
        try:
            said = self._ask(invocation, operation, {})
        except Refusal as refusal:
            return Err(refusal.name)
        readable = []
        for item in listing(said, name) if isinstance(said, dict) else []:
            try:
                readable.append(read(mapping(item)))
            except Malformed:
                continue
        return readable

    def _changed(
        self, invocation: Invocation, operation: str, given: Fields, wanted: _Record
    ) -> _Record:
        if CAP_SCHEDULER not in invocation.granted:
            return _failed(f"Permission denied: {CAP_SCHEDULER} not granted")
        if invocation.install is None:
            return _failed("Install ID missing")
        fields = {**given}
        for name, value in wanted.items():
            if value is not None:
                fields[camel(name)] = value
        try:
            if "payload" in fields:
                fields["payload"] = internal_api.parse_json(wanted["payload"])
        except ValueError:
            return _failed(BAD_PAYLOAD, internal_api.dump_json({"payload": BAD_PAYLOAD}))
        try:
            said = self._ask(invocation, operation, fields)
        except Refusal as refusal:
            return _failed(_debug(refusal.name), _complaints(refusal.body))
        known = said if isinstance(said, dict) else {}
        return {
            "success": flag(known, "success", default=False),
            "identity": text(known, "schedule_id"),
            "error": text(known, "error"),
            "field_errors": _field_errors(known),
        }

    def _ask(self, invocation: Invocation, operation: str, fields: Fields) -> object:
        if CAP_SCHEDULER not in invocation.granted or invocation.install is None:
            raise Refusal("denied")
        return self._api.ask(invocation, operation, fields)


def _failed(error: str, field_errors: str | None = None) -> _Record:
    return {"success": False, "identity": None, "error": error, "field_errors": field_errors}


def _debug(name: str) -> str:
    return f'SchedulerError {{ code: {ERRORS.index(name)}, name: "{name}", message: "" }}'


def _complaints(body: bytes) -> str | None:
    """What a refusal says of single fields."""
    try:
        return _field_errors(mapping(internal_api.parse_json(body)))
    except (ValueError, Malformed):
        return None


def _field_errors(fields: Fields) -> str | None:
    if not {"fieldErrors", "field_errors"} & fields.keys():
        return None
    return internal_api.dump_json(raw(fields, "field_errors"))


def _schedule(fields: Fields) -> _Record:
    enabled = raw(fields, "enabled")
    if not isinstance(enabled, bool):
        raise Malformed("enabled")
    payload = raw(fields, "payload")
    return {
        "id": needed(fields, "id"),
        "endpoint_path": needed(fields, "endpoint_path"),
        "endpoint_method": needed(fields, "endpoint_method"),
        "name": text(fields, "name"),
        "cron": needed(fields, "cron"),
        "timezone": needed(fields, "timezone"),
        "enabled": enabled,
        "payload": payload
        if payload is None or isinstance(payload, str)
        else internal_api.dump_json(payload),
        "last_run_at": text(fields, "last_run_at"),
        "last_run_status": text(fields, "last_run_status"),
        "last_error": text(fields, "last_error"),
        "created_at": text(fields, "created_at"),
    }


def _endpoint(fields: Fields) -> _Record:
    schedulable = raw(fields, "schedulable")
    if not isinstance(schedulable, bool):
        raise Malformed("schedulable")
    return {
        "id": needed(fields, "id"),
        "method": needed(fields, "method"),
        "path": needed(fields, "path"),
        "handler": needed(fields, "handler"),
        "schedulable": schedulable,
    }
