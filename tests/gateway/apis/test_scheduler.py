"""The scheduler of extensions, row by row of the contract."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from tests.gateway.seed import Extension

from .conftest import Api, Gateways

CREATE = {"operation": "create", "endpoint": "/hello", "cron": "*/5 * * * *"}


@pytest.fixture
def scheduler(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.faithful, "scheduler", extension.install)


@pytest.fixture
def fixed(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.fixed, "scheduler", extension.install)


def test_life_of_a_schedule(scheduler: Api) -> None:
    assert scheduler.ok("list") == {"schedules": []}
    answer = scheduler(
        {**CREATE, "name": " nightly ", "timezone": "Europe/Berlin", "payload": {"a": 1}}
    )
    assert answer.status == 201
    made = answer.json["scheduleId"]
    assert answer.json == {"success": True, "scheduleId": made}
    (listed,) = scheduler.ok("list")["schedules"]
    assert listed.pop("createdAt").endswith("Z")
    assert listed == {
        "id": made,
        "endpointPath": "/hello",
        "endpointMethod": "GET",
        "name": "nightly",
        "cron": "*/5 * * * *",
        "timezone": "Europe/Berlin",
        "enabled": True,
        "payload": {"a": 1},
        "lastRunAt": None,
        "lastRunStatus": None,
        "lastError": None,
    }
    more = {
        "endpoint": "POST /hello",
        "cron": "0 3 * * *",
        "enabled": False,
        "name": None,
        "payload": {"b": 2},
    }
    assert scheduler.ok("update", scheduleId=made, **more) == {"success": True}
    changed = scheduler.ok("get", scheduleId=made)["schedule"]
    assert (
        changed.items()
        >= {
            "endpointMethod": "POST",
            "cron": "0 3 * * *",
            "timezone": "Europe/Berlin",
            "enabled": False,
            "name": None,
            "payload": {"b": 2},
        }.items()
    )
    assert scheduler.ok("update", scheduleId=made.upper(), payload=None) == {"success": True}
    assert scheduler.ok("get", scheduleId=made)["schedule"]["payload"] is None
    assert scheduler.ok("delete", scheduleId=made) == {"success": True}
    assert scheduler.ok("get", scheduleId=made) == {"schedule": None}


def test_endpoints_are_made_on_demand(
    gateways: Gateways, extension: Extension, scheduler: Api
) -> None:
    listed = scheduler.ok("getEndpoints")["endpoints"]
    assert {(it["method"], it["path"]): it["schedulable"] for it in listed} == {
        ("GET", "/"): True,
        ("GET", "/hello"): True,
        ("POST", "/hello"): True,
        ("HEAD", "/headed"): False,
        ("OPTIONS", "/optional"): False,
        **{(method, "/items/:id"): False for method in ("GET", "PUT", "DELETE", "PATCH")},
    }
    assert {it["handler"] for it in listed} == {"dist/main"}
    rows = gateways.database.sql(
        "SELECT id::text FROM extension_api_endpoint WHERE version_id = %s", extension.version
    )
    assert {it["id"] for it in listed} == {row[0] for row in rows}
    assert scheduler.ok("getEndpoints")["endpoints"] == listed


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"endpoint": "/nobody"}, "endpoint"),
        ({"endpoint": "GET /items/:id"}, "endpoint"),
        ({"endpoint": "PUT /items/:id"}, "endpoint"),
        ({"endpoint": "HEAD /headed"}, "endpoint"),
        ({"endpoint": "DELETE /hello"}, "endpoint"),
        ({"cron": "* * * * *"}, "cron"),
        ({"cron": "0 0 1 * 1"}, "cron"),
        ({"cron": "daily"}, "cron"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"payload": "text"}, "payload"),
        ({"payload": 5}, "payload"),
        ({"payload": {"a": "x" * 100_000}}, "payload"),
    ],
)
def test_refused_fields(scheduler: Api, more: Mapping[str, Any], field: str) -> None:
    answer = scheduler({**CREATE, **more})
    assert answer.status == 400
    assert answer.json["success"] is False
    assert answer.json["fieldErrors"] == {field: answer.json["error"]}
    assert scheduler.ok("list") == {"schedules": []}


@pytest.mark.parametrize(
    "endpoint", ["/hello", "hello", "get /hello", "POST  //hello", " GET hello "]
)
def test_spellings_of_an_endpoint(scheduler: Api, endpoint: str) -> None:
    assert scheduler({**CREATE, "endpoint": endpoint}).status == 201


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "create", "endpoint": "/hello"},
        {**CREATE, "endpoint": ""},
        {**CREATE, "cron": "0" * 129},
        {**CREATE, "timezone": "x" * 65},
        {**CREATE, "name": "x" * 129},
        {**CREATE, "enabled": "yes"},
        *({"operation": it, "scheduleId": "nobody"} for it in ("get", "update", "delete")),
        *({"operation": it} for it in ("get", "update", "delete")),
    ],
)
def test_bad_shapes(scheduler: Api, body: Mapping[str, Any]) -> None:
    answer = scheduler(body)
    assert answer.status == 400
    assert answer.json["error"] == "Validation error"
    assert "code" not in answer.json
    assert answer.json["details"]["fieldErrors"]


def test_a_schedule_that_is_not_there(gateways: Gateways, scheduler: Api) -> None:
    nobody = str(uuid.uuid4())
    assert scheduler.ok("get", scheduleId=nobody) == {"schedule": None}
    for operation in ("update", "delete"):
        answer = scheduler({"operation": operation, "scheduleId": nobody})
        assert answer.status == 400
        assert answer.json["success"] is False
    stranger = Api(gateways.faithful, "scheduler", gateways.install().install)
    theirs = stranger.ok("create", endpoint="/hello", cron="0 * * * *")["scheduleId"]
    assert scheduler.ok("get", scheduleId=theirs) == {"schedule": None}
    assert scheduler({"operation": "delete", "scheduleId": theirs}).status == 400


def test_names_are_unique_in_an_install(scheduler: Api) -> None:
    assert scheduler({**CREATE, "name": "n"}).status == 201
    answer = scheduler({**CREATE, "name": "n"})
    assert answer.status == 400
    assert set(answer.json["fieldErrors"]) == {"name"}
    other = scheduler.ok("create", **{k: v for k, v in CREATE.items() if k != "operation"})
    renamed = scheduler({"operation": "update", "scheduleId": other["scheduleId"], "name": "n"})
    assert (renamed.status, set(renamed.json["fieldErrors"])) == (400, {"name"})


def test_ten_changes_a_minute(scheduler: Api) -> None:
    nobody = {"operation": "delete", "scheduleId": str(uuid.uuid4())}
    assert [scheduler(nobody).status for _ in range(11)] == [400] * 10 + [429]
    answer = scheduler(CREATE)
    assert (answer.status, answer.json["code"]) == (429, "RATE_LIMITED")
    assert scheduler({"operation": "list"}).status == 200


def test_fifty_schedules(gateways: Gateways, extension: Extension, scheduler: Api) -> None:
    scheduler.ok("create", endpoint="/hello", cron="0 * * * *")
    gateways.database.sql(
        "INSERT INTO tenant_extension_schedule (install_id, tenant_id, endpoint_id, cron, enabled)"
        " SELECT install_id, tenant_id, endpoint_id, cron, false FROM tenant_extension_schedule,"
        " generate_series(1, 49) WHERE install_id = %s",
        extension.install,
    )
    answer = scheduler(CREATE)
    assert (answer.status, answer.json["success"]) == (400, False)
    assert "fieldErrors" not in answer.json


def test_array_payloads_break(scheduler: Api, fixed: Api) -> None:
    answer = scheduler({**CREATE, "payload": [1]})
    assert answer.status == 400
    assert answer.json["error"].startswith('insert into "tenant_extension_schedule"')
    assert answer.headers["x-algaenv-product-fault"] == "scheduler-array-payload"
    assert scheduler.ok("list") == {"schedules": []}
    scheduler.ok("create", endpoint="/hello", cron="0 * * * *", payload=[])
    (listed,) = scheduler.ok("list")["schedules"]
    assert listed["payload"] == {}
    changed = {"operation": "update", "scheduleId": listed["id"], "payload": [{"a": 1}]}
    assert scheduler(changed).status == 400
    answer = fixed(changed)
    assert answer.status == 200
    assert "x-algaenv-product-fault" not in answer.headers
    assert fixed.ok("list")["schedules"][0]["payload"] == [{"a": 1}]


def test_an_update_erases(scheduler: Api, fixed: Api) -> None:
    kept = {"name": "nightly", "payload": {"a": 1}}
    made = scheduler.ok("create", endpoint="/hello", cron="0 * * * *", **kept)["scheduleId"]

    def stored() -> dict[str, object]:
        found = scheduler.ok("get", scheduleId=made)["schedule"]
        return {name: found[name] for name in kept}

    assert fixed.fault("update", scheduleId=made, cron="0 4 * * *") is None
    assert fixed.fault("update", scheduleId=made, name="n") is None
    assert stored() == {"name": "n", "payload": {"a": 1}}
    assert scheduler.fault("update", scheduleId=made, cron="0 5 * * *", **kept) is None
    assert stored() == kept
    assert scheduler.fault("update", scheduleId=made, name="n") == "scheduler-update-erases"
    assert stored() == {"name": "n", "payload": None}
    assert scheduler.fault("update", scheduleId=made) == "scheduler-update-erases"
    assert stored() == {"name": None, "payload": None}
    # There is nothing left that could get lost.
    assert scheduler.fault("update", scheduleId=made, enabled=False) is None


def test_nonsense_is_stored_while_it_is_disabled(scheduler: Api) -> None:
    nonsense = {"endpoint": "/hello", "cron": "61 * * * *"}
    assert scheduler({"operation": "create", **nonsense}).json["fieldErrors"].keys() == {"cron"}
    made = scheduler.ok("create", **nonsense, enabled=False)["scheduleId"]
    enabled = {"operation": "update", "scheduleId": made, "enabled": True}
    assert scheduler(enabled).json["fieldErrors"].keys() == {"cron"}
    assert scheduler({**enabled, "cron": "0 * * * *"}).status == 200


def test_a_schedule_whose_endpoint_is_gone(
    gateways: Gateways, extension: Extension, scheduler: Api
) -> None:
    """It is not listed, but can be pointed to another one, and deleted."""
    made = scheduler.ok("create", endpoint="/hello", cron="0 * * * *")["scheduleId"]
    gateways.database.sql(
        "DELETE FROM extension_api_endpoint WHERE version_id = %s", extension.version
    )
    assert scheduler.ok("list") == {"schedules": []}
    scheduler.ok("update", scheduleId=made, endpoint="POST /hello")
    assert scheduler.ok("get", scheduleId=made)["schedule"]["endpointMethod"] == "POST"


def test_ids_that_the_product_does_not_make(scheduler: Api) -> None:
    """Its shape of a body takes any UUID, what looks for schedules only versions 1 to 5."""
    odd = "018f1111-1111-7111-8111-111111111111"
    assert scheduler.ok("get", scheduleId=odd) == {"schedule": None}
    refused: dict[str, object] = {"success": False, "error": "Invalid scheduleId"}
    assert scheduler({"operation": "delete", "scheduleId": odd}).json == refused
    refused["fieldErrors"] = {"scheduleId": "Invalid scheduleId"}
    assert scheduler({"operation": "update", "scheduleId": odd}).json == refused


def test_what_the_database_refuses(scheduler: Api) -> None:
    answer = scheduler({**CREATE, "payload": {"a": "\0"}})
    assert answer.status == 400
    assert answer.json["error"].endswith(" - unsupported Unicode escape sequence")


def test_capability_is_not_asked_for(gateways: Gateways) -> None:
    plain = gateways.install(capabilities=())
    assert Api(gateways.faithful, "scheduler", plain.install)(CREATE).status == 201


def test_schedules_for_the_author(gateways: Gateways, extension: Extension, scheduler: Api) -> None:
    scheduler.ok("create", endpoint="/hello", cron="0 0 1 1 *", name="new year")
    answer = gateways.faithful.ask("/algaenv/schedules")
    (mine,) = (it for it in answer.json["schedules"] if it["installId"] == extension.install)
    assert mine["nextRunAt"].endswith("-01-01T00:00:00.000Z")
    assert mine["extensionId"] == extension.registry
    assert json.loads(answer.body)
