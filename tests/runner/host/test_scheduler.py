"""`scheduler` row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from algaenv.runner.execute.invocation import DEFAULT_CAPABILITIES
from algaenv.runner.wasm.wit import Err

from .host import Host
from .stub import Stub, StubResponse

CREATE = {
    "endpoint": "/e",
    "cron": "* * * * *",
    "timezone": None,
    "enabled": None,
    "name": None,
    "payload": None,
}
UPDATE = CREATE | {"endpoint": None, "cron": None}
READS: list[tuple[str, list[Any]]] = [
    ("scheduler.list-schedules", []),
    ("scheduler.get-schedule", ["s1"]),
    ("scheduler.get-endpoints", []),
]
CHANGES: list[tuple[str, list[Any]]] = [
    ("scheduler.create-schedule", [CREATE]),
    ("scheduler.update-schedule", ["s1", UPDATE]),
    ("scheduler.delete-schedule", ["s1"]),
]
BAD_PAYLOAD = "Payload must be valid JSON object or array"

SAID = {
    "id": "s1",
    "endpointPath": "/e",
    "endpointMethod": "POST",
    "cron": "* * * * *",
    "timezone": "UTC",
    "enabled": True,
}
READ = {
    "id": "s1",
    "endpoint_path": "/e",
    "endpoint_method": "POST",
    "name": None,
    "cron": "* * * * *",
    "timezone": "UTC",
    "enabled": True,
    "payload": None,
    "last_run_at": None,
    "last_run_status": None,
    "last_error": None,
    "created_at": None,
}


def record(name: str, **fields: object) -> dict[str, object]:
    """A result record of one of CHANGES."""
    known: dict[str, object] = {"success": False, "error": None}
    if "delete" not in name:
        known["field_errors"] = None
    if "create" in name:
        known["schedule_id"] = None
    return known | {key: value for key, value in fields.items() if key in known}


@pytest.mark.parametrize(("name", "arguments"), READS)
def test_reads_refused(host: Host, server: Stub, name: str, arguments: list[Any]) -> None:
    assert host.call(name, *arguments, capabilities=DEFAULT_CAPABILITIES) == Err("denied")
    assert host.call(name, *arguments, install=None) == Err("denied")
    assert server.asked == []


@pytest.mark.parametrize(("name", "arguments"), CHANGES)
def test_changes_refused(host: Host, server: Stub, name: str, arguments: list[Any]) -> None:
    error = "Permission denied: cap:scheduler.manage not granted"
    assert host.call(name, *arguments, capabilities=DEFAULT_CAPABILITIES) == record(
        name, error=error
    )
    assert host.call(name, *arguments, install=None) == record(name, error="Install ID missing")
    assert server.asked == []


STATUSES = [
    (400, 1, "validation-failed"), (401, 3, "denied"), (403, 3, "denied"), (404, 0, "not-found"),
    (409, 4, "internal"), (429, 2, "quota-exceeded"), (500, 4, "internal"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "error"), STATUSES)
def test_statuses(host: Host, server: Stub, status: int, code: int, error: str) -> None:
    server.respond(StubResponse(status, b"no JSON"))
    for name, arguments in READS:
        assert host.call(name, *arguments) == Err(error)
    for name, arguments in CHANGES:
        text = f'SchedulerError {{ code: {code}, name: "{error}", message: "" }}'
        assert host.call(name, *arguments) == record(name, error=text)


def test_what_a_refusal_says_of_fields(host: Host, server: Stub) -> None:
    """Alga's runner drops it; the text of the error stays as it is there."""
    server.respond_json(
        {"success": False, "error": "no", "fieldErrors": {"cron": "bad"}}, status=400
    )
    text = 'SchedulerError { code: 1, name: "validation-failed", message: "" }'
    for name, arguments in CHANGES:
        output = host.call(name, *arguments)
        assert output == record(name, error=text, field_errors='{"cron":"bad"}')


def test_schedules(host: Host, server: Stub) -> None:
    snake = {
        "id": "s2", "endpoint_path": "/f", "endpoint_method": "GET", "cron": "c", "timezone": "t",
        "enabled": False, "name": "n", "payload": {"b": [1, "ü"]}, "last_run_at": "1",
        "last_run_status": "2", "last_error": "3", "created_at": "4",
    }  # fmt: skip
    full = SAID | {
        "name": "n", "payload": "text", "lastRunAt": "1", "lastRunStatus": "2", "lastError": "3",
        "createdAt": "4",
    }  # fmt: skip
    server.respond_json({"schedules": [SAID, full, snake]})
    rest = {"name": "n", "last_run_at": "1", "last_run_status": "2", "last_error": "3",
            "created_at": "4"}  # fmt: skip
    assert host.call("scheduler.list-schedules") == [
        READ,
        READ | rest | {"payload": "text"},
        snake | {"payload": '{"b":[1,"ü"]}'},
    ]
    assert server.last.json() == {"operation": "list"}


MALFORMED = [
    5, None, {}, *({key: value for key, value in SAID.items() if key != gone} for gone in SAID),
    SAID | {"enabled": 1}, SAID | {"id": 5},
    SAID | {"endpointPath": None, "endpoint_path": "/e"},
]  # fmt: skip


def test_malformed_schedules_are_left_out(host: Host, server: Stub) -> None:
    server.respond_json({"schedules": [*MALFORMED, SAID]})
    assert host.call("scheduler.list-schedules") == [READ]


@pytest.mark.parametrize("answer", [None, [], {}, {"schedules": None}, {"schedules": {}}])
def test_no_schedules(host: Host, server: Stub, answer: object) -> None:
    server.respond_json(answer)
    assert host.call("scheduler.list-schedules") == []
    assert host.call("scheduler.get-endpoints") == []


def test_one_schedule(host: Host, server: Stub) -> None:
    server.respond_json({"schedule": SAID | {"payload": None, "name": 5}})
    assert host.call("scheduler.get-schedule", "s1") == READ
    assert server.last.json() == {"operation": "get", "scheduleId": "s1"}


@pytest.mark.parametrize("answer", [None, [], {}, *({"schedule": each} for each in MALFORMED)])
def test_no_schedule(host: Host, server: Stub, answer: object) -> None:
    server.respond_json(answer)
    assert host.call("scheduler.get-schedule", "s1") is None


def test_endpoints(host: Host, server: Stub) -> None:
    endpoint = {"id": "e", "method": "GET", "path": "/p", "handler": "h", "schedulable": False}
    bad = [endpoint | {"schedulable": None}, endpoint | {"path": 1}, "x"]
    server.respond_json({"endpoints": [*bad, endpoint]})
    assert host.call("scheduler.get-endpoints") == [endpoint]
    assert server.last.json() == {"operation": "getEndpoints"}


def test_create(host: Host, server: Stub) -> None:
    server.respond_json({"success": True, "scheduleId": "s9"}, status=201)
    output = host.call("scheduler.create-schedule", CREATE)
    assert output == {"success": True, "schedule_id": "s9", "error": None, "field_errors": None}
    assert server.last.json() == {"operation": "create", "endpoint": "/e", "cron": "* * * * *"}
    full = CREATE | {"timezone": "UTC", "enabled": False, "name": "", "payload": ' {"a": [1]} '}
    host.call("scheduler.create-schedule", full)
    assert server.last.json() == {
        "operation": "create", "endpoint": "/e", "cron": "* * * * *", "timezone": "UTC",
        "enabled": False, "name": "", "payload": {"a": [1]},
    }  # fmt: skip


def test_update(host: Host, server: Stub) -> None:
    server.respond_json({"success": True})
    output = host.call("scheduler.update-schedule", "s1", UPDATE)
    assert output == {"success": True, "error": None, "field_errors": None}
    assert server.last.json() == {"operation": "update", "scheduleId": "s1"}
    host.call("scheduler.update-schedule", "s1", UPDATE | {"cron": "c", "enabled": True})
    assert server.last.json() == {
        "operation": "update", "scheduleId": "s1", "cron": "c", "enabled": True
    }  # fmt: skip


def test_delete(host: Host, server: Stub) -> None:
    server.respond_json({"success": True, "error": 5})
    assert host.call("scheduler.delete-schedule", "s1") == {"success": True, "error": None}
    assert server.last.json() == {"operation": "delete", "scheduleId": "s1"}


@pytest.mark.parametrize("payload", ["null", "5", '"x"', "[]", "{}", "1.0", "true"])
def test_any_json_is_a_payload(host: Host, server: Stub, payload: str) -> None:
    server.respond_json({})
    host.call("scheduler.update-schedule", "s1", UPDATE | {"payload": payload})
    assert server.last.json()["payload"] == json.loads(payload)  # type: ignore[index]


@pytest.mark.parametrize("payload", ["", " ", "{", "x", "NaN", "{} {}", '"\\ud800"', "[" * 9999])
def test_payloads_that_are_not_json(host: Host, server: Stub, payload: str) -> None:
    for name, arguments in CHANGES[:2]:
        *first, last = arguments
        output = host.call(name, *first, last | {"payload": payload})
        errors = json.dumps({"payload": BAD_PAYLOAD}, separators=(",", ":"))
        assert output == record(name, error=BAD_PAYLOAD, field_errors=errors)
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (None, {}),
        ([], {}),
        ({"success": "yes"}, {}),
        ({"success": True, "schedule_id": "x"}, {"success": True, "schedule_id": "x"}),
        ({"scheduleId": None, "schedule_id": "x"}, {}),
        ({"error": "e", "fieldErrors": None}, {"error": "e", "field_errors": "null"}),
        ({"fieldErrors": "text"}, {"field_errors": '"text"'}),
        ({"field_errors": {"a": ["ü"]}}, {"field_errors": '{"a":["ü"]}'}),
        ({"fieldErrors": [], "field_errors": 1}, {"field_errors": "[]"}),
    ],
)
def test_results(host: Host, server: Stub, answer: object, fields: dict[str, object]) -> None:
    server.respond_json(answer)
    for name, arguments in CHANGES:
        assert host.call(name, *arguments) == record(name, **fields)
