"""6.8: schedules and endpoints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .calls import Caller, Json, do, snake
from .internal import Api
from .kinds import Kind, differs, settle
from .stub import Reply, said
from .test_capability_gates import refused

LIST, GET = do("scheduler.list-schedules"), do("scheduler.get-schedule", "s-1")
ENDPOINTS = do("scheduler.get-endpoints")
CREATE = do("scheduler.create-schedule", {"endpoint": "e", "cron": "0 * * * *"})
UPDATE = do("scheduler.update-schedule", "s-1", {})
DELETE = do("scheduler.delete-schedule", "s-1")
ERRORS = {
    400: (1, "validation-failed"),
    401: (3, "denied"),
    403: (3, "denied"),
    404: (0, "not-found"),
    409: (4, "internal"),
    422: (4, "internal"),
    429: (2, "quota-exceeded"),
    500: (4, "internal"),
    503: (4, "internal"),
}
SCHEDULE: Json = {
    "id": "s-1",
    "endpointPath": "/run",
    "endpointMethod": "POST",
    "name": "Nightly",
    "cron": "0 2 * * *",
    "timezone": "UTC",
    "enabled": True,
    "payload": {"a": [1, "ü"]},
    "lastRunAt": "2026-01-01T00:00:00Z",
    "lastRunStatus": "ok",
    "lastError": "none",
    "createdAt": "2025-01-01T00:00:00Z",
}
SEEN: Json = {
    "id": "s-1",
    "endpoint_path": "/run",
    "endpoint_method": "POST",
    "name": "Nightly",
    "cron": "0 2 * * *",
    "timezone": "UTC",
    "enabled": True,
    "payload": '{"a":[1,"ü"]}',
    "last_run_at": "2026-01-01T00:00:00Z",
    "last_run_status": "ok",
    "last_error": "none",
    "created_at": "2025-01-01T00:00:00Z",
}
LEAST = {
    name: SCHEDULE[name]
    for name in ("id", "endpointPath", "endpointMethod", "cron", "timezone", "enabled")
}
OPTIONS = ("name", "payload", "last_run_at", "last_run_status", "last_error", "created_at")
ENDPOINT = {"id": "e-1", "method": "GET", "path": "/p", "handler": "h", "schedulable": False}


@pytest.fixture
def api(caller: Caller) -> Api:
    return Api(caller, "ext-scheduler")


@pytest.mark.parametrize(
    ("call", "body"),
    [
        pytest.param(LIST, {"operation": "list"}, id="6.8-list"),
        pytest.param(GET, {"operation": "get", "scheduleId": "s-1"}, id="6.8-get"),
        pytest.param(ENDPOINTS, {"operation": "getEndpoints"}, id="6.8-endpoints"),
        pytest.param(DELETE, {"operation": "delete", "scheduleId": "s-1"}, id="6.8-delete"),
        pytest.param(
            CREATE, {"operation": "create", "endpoint": "e", "cron": "0 * * * *"}, id="6.8-create"
        ),
        pytest.param(
            do(
                "scheduler.create-schedule",
                {
                    "endpoint": "e",
                    "cron": "c",
                    "timezone": "Europe/Berlin",
                    "enabled": False,
                    "name": "",
                    "payload": '{"a": [1, null]}',
                },
            ),
            {
                "operation": "create",
                "endpoint": "e",
                "cron": "c",
                "timezone": "Europe/Berlin",
                "enabled": False,
                "name": "",
                "payload": {"a": [1, None]},
            },
            id="6.8-create-all",
        ),
        pytest.param(UPDATE, {"operation": "update", "scheduleId": "s-1"}, id="6.8-update"),
        pytest.param(
            do(
                "scheduler.update-schedule",
                "s-1",
                {
                    "endpoint": "e",
                    "cron": "c",
                    "timezone": "UTC",
                    "enabled": True,
                    "name": "n",
                    "payload": "null",
                },
            ),
            {
                "operation": "update",
                "scheduleId": "s-1",
                "endpoint": "e",
                "cron": "c",
                "timezone": "UTC",
                "enabled": True,
                "name": "n",
                "payload": None,
            },
            id="6.8-update-all",
        ),
    ],
)
def test_6_8_what_is_asked(api: Api, *, call: Json, body: Json) -> None:
    api.gives({}, call)
    assert api.bodies == [body]


# Payloads


@pytest.mark.parametrize("text", ['{"a":1}', "[1]", "5", '"x"', "true", "null", " 1 "])
@pytest.mark.parametrize("function", ["create", "update"])
def test_6_8_payloads_of_any_type(api: Api, *, function: str, text: str) -> None:
    api.gives({"success": True}, _with_payload(function, text))
    assert api.bodies[0]["payload"] == json.loads(text)


@pytest.mark.parametrize("text", ["", " ", "{", "no json", "{} {}", "NaN", "'a'"])
@pytest.mark.parametrize("function", ["create", "update"])
def test_6_8_payloads_that_are_no_json(api: Api, *, function: str, text: str) -> None:
    why = "Payload must be valid JSON object or array"
    given = api.gives({"success": True}, _with_payload(function, text))
    refused(given, error=why, field_errors=json.dumps({"payload": why}, separators=(",", ":")))
    assert api.asked == []


def _with_payload(function: str, text: str) -> Json:
    if function == "create":
        fields = {"endpoint": "e", "cron": "c", "payload": text}
        return do("scheduler.create-schedule", fields)
    return do("scheduler.update-schedule", "s-1", {"payload": text})


# Statuses


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("call", [LIST, GET, ENDPOINTS], ids=["list", "get", "endpoints"])
def test_6_8_statuses(api: Api, *, call: Json, status: int) -> None:
    assert api.gives(Reply(status, b"why"), call) == {"err": ERRORS[status][1]}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("call", [CREATE, UPDATE, DELETE], ids=["create", "update", "delete"])
def test_6_8_statuses_in_records(api: Api, *, call: Json, status: int) -> None:
    code, name = ERRORS[status]
    error = f'SchedulerError {{ code: {code}, name: "{name}", message: "" }}'
    for answer in (Reply(status), Reply(status, b"no json"), said({"error": "lost"}, status)):
        refused(api.gives(answer, call), error=error)


@pytest.mark.parametrize("call", [CREATE, UPDATE], ids=["create", "update"])
def test_6_8_field_errors_of_a_refusal(api: Api, kind: Kind, *, call: Json) -> None:
    answer = said({"success": False, "fieldErrors": {"cron": ["bad"]}}, 400)
    kept = differs("refused-schedules-keep-field-errors", ours='{"cron":["bad"]}', original=None)
    assert api.gives(answer, call)["ok"]["field_errors"] == settle(kind, kept)


# Records


@pytest.mark.parametrize(
    ("call", "own"),
    [(CREATE, ("schedule_id",)), (UPDATE, ()), (DELETE, ())],
    ids=["create", "update", "delete"],
)
class TestRecords:
    @pytest.mark.parametrize("style", ["camel", "snake"])
    def test_6_8_a_record(self, api: Api, call: Json, own: tuple[str, ...], style: str) -> None:
        answer: Json = {
            "success": True,
            "scheduleId": "s-9",
            "error": "odd",
            "fieldErrors": {"cron": ["bad", "ü"]},
        }
        given = api.gives(answer if style == "camel" else snake(answer), call)["ok"]
        expected: Json = {"success": True, "error": "odd"}
        if own:
            expected["schedule_id"] = "s-9"
        if call is not DELETE:
            expected["field_errors"] = '{"cron":["bad","ü"]}'
        assert given == expected

    @pytest.mark.parametrize("answer", [Reply(200), said({}), said(None), said([]), said("x")])
    def test_6_8_an_empty_answer(
        self, api: Api, call: Json, own: tuple[str, ...], answer: Reply
    ) -> None:
        refused(api.gives(answer, call))

    @pytest.mark.parametrize(
        "success", ["true", 1, None], ids=["6.8-text", "6.8-number", "6.8-null"]
    )
    def test_6_8_success_is_a_boolean(
        self, api: Api, call: Json, own: tuple[str, ...], success: object
    ) -> None:
        assert api.gives({"success": success, "error": 5}, call)["ok"]["success"] is False


@pytest.mark.parametrize(
    ("errors", "text"),
    [
        pytest.param({"a": 1}, '{"a":1}', id="6.8-object"),
        pytest.param(None, "null", id="6.8-null"),
        pytest.param("text", '"text"', id="6.8-string"),
        pytest.param([], "[]", id="6.8-array"),
        pytest.param(..., None, id="6.8-absent"),
    ],
)
def test_6_8_field_errors(api: Api, *, errors: object, text: str | None) -> None:
    answer: Json = {"success": True} if errors is ... else {"success": True, "fieldErrors": errors}
    for call in (CREATE, UPDATE):
        assert api.gives(answer, call)["ok"]["field_errors"] == text


# Schedules


@pytest.mark.parametrize("style", ["camel", "snake"])
def test_6_8_schedules(api: Api, style: str) -> None:
    one = SCHEDULE if style == "camel" else snake(SCHEDULE)
    assert api.gives({"schedules": [one]}, LIST) == {"ok": [SEEN]}
    assert api.gives({"schedule": one}, GET) == {"ok": SEEN}


def test_6_8_a_schedule_with_no_more_than_needed(api: Api) -> None:
    expected = SEEN | dict.fromkeys(OPTIONS)
    assert api.gives({"schedule": LEAST}, GET) == {"ok": expected}
    nulls = LEAST | {name: None for name in SCHEDULE if name not in LEAST}
    assert api.gives({"schedule": nulls}, GET) == {"ok": expected}


@pytest.mark.parametrize(
    ("payload", "seen"),
    [
        (None, None),
        ("text", "text"),
        ("", ""),
        (5, "5"),
        (False, "false"),
        ([], "[]"),
        ({"b": 1, "a": {}}, None),
    ],
)
def test_6_8_payloads_that_are_seen(api: Api, *, payload: object, seen: str | None) -> None:
    given = api.gives({"schedule": LEAST | {"payload": payload}}, GET)["ok"]["payload"]
    if isinstance(payload, dict):
        assert json.loads(given) == payload
        assert " " not in given
    else:
        assert given == seen


BROKEN = [
    pytest.param(
        {name: value for name, value in LEAST.items() if name != gone}, id=f"6.8-no-{gone}"
    )
    for gone in LEAST
] + [
    pytest.param(LEAST | {"id": 5}, id="6.8-id-is-a-number"),
    pytest.param(LEAST | {"enabled": "true"}, id="6.8-enabled-is-text"),
    pytest.param(LEAST | {"endpointPath": None, "endpoint_path": "/p"}, id="6.8-null-hides-snake"),
    pytest.param("text", id="6.8-no-object"),
    pytest.param(None, id="6.8-null"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_6_8_broken_schedules(api: Api, broken: Any) -> None:
    assert api.gives({"schedules": [broken, SCHEDULE, broken]}, LIST) == {"ok": [SEEN]}
    assert api.gives({"schedule": broken}, GET) == {"ok": None}


@pytest.mark.parametrize("answer", [{}, {"schedules": None}, {"schedules": {}}, {"schedule": None}])
def test_6_8_no_schedules(api: Api, answer: Json) -> None:
    assert api.gives(answer, LIST) == {"ok": []}
    assert api.gives(answer, GET) == {"ok": None}


@pytest.mark.parametrize("reply", [Reply(200), Reply(204), said(None)])
def test_6_8_empty_answers(api: Api, reply: Reply) -> None:
    assert api.gives(reply, LIST) == {"ok": []}
    assert api.gives(reply, GET) == {"ok": None}
    assert api.gives(reply, ENDPOINTS) == {"ok": []}


# Endpoints


@pytest.mark.parametrize("gone", list(ENDPOINT))
def test_6_8_endpoints(api: Api, gone: str) -> None:
    broken = {name: value for name, value in ENDPOINT.items() if name != gone}
    answer = {"endpoints": [ENDPOINT, broken, ENDPOINT | {gone: 5}, "text", ENDPOINT | {"more": 1}]}
    assert api.gives(answer, ENDPOINTS) == {"ok": [ENDPOINT, ENDPOINT]}
