"""`clients` and `services` row by row."""

from __future__ import annotations

from typing import Any

import pytest

from algaenv.runner.execute.invocation import DEFAULT_CAPABILITIES
from algaenv.runner.execute.request_models import User
from algaenv.runner.wasm.wit import Err

from .host import Host
from .stub import Stub, StubResponse

ANY = {"search": None, "include_inactive": None, "page": None, "page_size": None}
ANY_SERVICE = {
    "search": None,
    "item_kind": None,
    "is_active": None,
    "billing_method": None,
    "page": None,
    "page_size": None,
}
CALLS: list[tuple[str, Any]] = [
    ("clients.list-clients", ANY),
    ("clients.get-client", "x"),
    ("services.list-services", ANY_SERVICE),
    ("services.get-service", "x"),
]
LISTS, GETS = CALLS[::2], CALLS[1::2]

CLIENT_SAID = {"clientId": "c", "clientName": "n"}
CLIENT = {
    "client_id": "c",
    "client_name": "n",
    "client_type": None,
    "is_inactive": False,
    "default_currency_code": None,
    "account_manager_id": None,
    "account_manager_name": None,
    "billing_email": None,
}
SERVICE_SAID = {
    "serviceId": "s",
    "serviceName": "n",
    "itemKind": "service",
    "billingMethod": "hourly",
}
SERVICE = {
    "service_id": "s",
    "service_name": "n",
    "item_kind": "service",
    "billing_method": "hourly",
    "service_type_id": None,
    "service_type_name": None,
    "default_rate": 0.0,
    "unit_of_measure": "",
    "is_active": True,
    "sku": None,
}


def item(name: str) -> dict[str, Any]:
    return CLIENT_SAID if name.startswith("clients") else SERVICE_SAID


def entry(name: str) -> dict[str, Any]:
    return CLIENT if name.startswith("clients") else SERVICE


@pytest.mark.parametrize(("name", "argument"), CALLS)
def test_refusals(host: Host, server: Stub, name: str, argument: Any) -> None:
    assert host.call(name, argument, capabilities=DEFAULT_CAPABILITIES) == Err("not-allowed")
    assert host.call(name, argument, install=None) == Err("not-allowed")
    assert server.asked == []


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "invalid-input"), (401, "not-allowed"), (403, "not-allowed"), (404, "internal"),
        (429, "internal"), (500, "internal"),
    ],
)  # fmt: skip
def test_statuses(host: Host, server: Stub, call: tuple[str, Any], status: int, error: str) -> None:
    server.respond_json({"error": "why"}, status=status)
    assert host.call(*call) == Err(error)


@pytest.mark.parametrize(("name", "argument"), LISTS)
def test_the_least_list(host: Host, server: Stub, name: str, argument: Any) -> None:
    server.respond_json({"items": [item(name)], "totalCount": 7, "page": 2, "pageSize": 3})
    assert host.call(name, argument, install="") == {
        "items": [entry(name)],
        "total_count": 7,
        "page": 2,
        "page_size": 3,
    }
    assert server.last.target == f"/api/internal/ext-{name.partition('.')[0]}/install/"
    assert server.last.json() == {"operation": "list", "input": {"page": 1, "pageSize": 25}}


def test_the_most_of_clients(host: Host, server: Stub, user: User) -> None:
    server.respond_json({})
    wanted = {"search": "", "include_inactive": False, "page": 4, "page_size": 100}
    host.call("clients.list-clients", wanted, user=user)
    assert server.last.json() == {
        "operation": "list",
        "input": {"search": "", "includeInactive": False, "page": 4, "pageSize": 100},
        "user": {"userId": "u1", "userType": "internal"},
    }


def test_the_most_of_services(host: Host, server: Stub, user: User) -> None:
    server.respond_json({})
    wanted = {
        "search": "x", "item_kind": "product", "is_active": True, "billing_method": "usage",
        "page": 2**32 - 1, "page_size": 1,
    }  # fmt: skip
    host.call("services.list-services", wanted, user=user)
    assert server.last.json() == {
        "operation": "list",
        "input": {
            "search": "x", "itemKind": "product", "isActive": True, "billingMethod": "usage",
            "page": 2**32 - 1, "pageSize": 1,
        },
        "user": {"userId": "u1", "userType": "internal"},
    }  # fmt: skip


@pytest.mark.parametrize(("name", "argument"), LISTS)
@pytest.mark.parametrize("paging", [{"page": 0}, {"page_size": 0}, {"page_size": 101}])
def test_pages_that_do_not_exist(
    host: Host, server: Stub, name: str, argument: Any, paging: dict[str, int]
) -> None:
    assert host.call(name, argument | paging) == Err("invalid-input")
    assert server.asked == []


@pytest.mark.parametrize("call", LISTS)
@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ({}, (0, 1, 25)),
        ({"items": None, "totalCount": "1", "page": 1.5, "pageSize": -1}, (0, 1, 25)),
        ({"total_count": 9, "page": 2**32 + 5, "page_size": 2**32}, (9, 5, 0)),
        ({"totalCount": None, "total_count": 9}, (0, 1, 25)),
    ],
)
def test_numbers_of_a_list(
    host: Host, server: Stub, call: tuple[str, Any], answer: object, numbers: tuple[int, ...]
) -> None:
    server.respond_json(answer)
    text = host.call(*call)
    assert text["items"] == []
    assert (text["total_count"], text["page"], text["page_size"]) == numbers


@pytest.mark.parametrize(("name", "argument"), CALLS)
@pytest.mark.parametrize("answer", [None, [], "x", 5])
def test_answers_that_are_no_object(
    host: Host, server: Stub, name: str, argument: Any, answer: object
) -> None:
    server.respond_json(answer)
    assert host.call(name, argument) == Err("internal")


@pytest.mark.parametrize(("name", "argument"), GETS)
def test_one_entry(host: Host, server: Stub, user: User, name: str, argument: Any) -> None:
    server.respond_json({"item": item(name)})
    assert host.call(name, argument) == entry(name)
    identity = "clientId" if name.startswith("clients") else "serviceId"
    body = {"operation": "get", "input": {identity: "x"}}
    assert server.last.json() == body
    host.call(name, argument, user=user)
    assert server.last.json() == body | {"user": {"userId": "u1", "userType": "internal"}}


@pytest.mark.parametrize(("name", "argument"), GETS)
def test_no_entry(host: Host, server: Stub, name: str, argument: Any) -> None:
    server.respond_json({"item": None})
    assert host.call(name, argument) is None
    server.respond_json({})
    assert host.call(name, argument) == Err("internal")


BAD_CLIENTS: list[Any] = [
    5, None, {}, {"clientId": 5, "clientName": "n"}, {"clientId": "c"},
    {"clientId": None, "client_id": "c", "clientName": "n"},
]  # fmt: skip
BAD_SERVICES: list[Any] = [
    5, None, {}, SERVICE_SAID | {"itemKind": "unsupported"}, SERVICE_SAID | {"itemKind": None},
    SERVICE_SAID | {"billingMethod": "bogus"}, SERVICE_SAID | {"serviceName": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "bad"),
    [("client", each) for each in BAD_CLIENTS] + [("service", each) for each in BAD_SERVICES],
)
def test_one_bad_entry_spoils_it(host: Host, server: Stub, topic: str, bad: Any) -> None:
    good, wanted = (CLIENT_SAID, ANY) if topic == "client" else (SERVICE_SAID, ANY_SERVICE)
    server.respond_json({"items": [good, bad], "item": bad})
    assert host.call(f"{topic}s.list-{topic}s", wanted) == Err("internal")
    if bad is not None:
        assert host.call(f"{topic}s.get-{topic}", "x") == Err("internal")


def test_whole_entries(host: Host, server: Stub) -> None:
    client = CLIENT | {
        "client_type": "company", "is_inactive": True, "default_currency_code": "EUR",
        "account_manager_id": "m", "account_manager_name": "mm", "billing_email": "b@c.d",
    }  # fmt: skip
    server.respond_json({"item": client})
    assert host.call("clients.get-client", "c") == client
    service = SERVICE | {
        "item_kind": "product", "billing_method": "fixed", "service_type_id": "t",
        "service_type_name": "tt", "default_rate": 3, "unit_of_measure": "h", "is_active": False,
        "sku": "k",
    }  # fmt: skip
    server.respond_json({"item": service})
    assert host.call("services.get-service", "s") == service | {"default_rate": 3.0}
    camel = SERVICE_SAID | {
        "defaultRate": "3", "unitOfMeasure": 1, "isActive": "no", "sku": 5, "serviceTypeId": "t",
    }  # fmt: skip
    server.respond_json({"item": camel})
    assert host.call("services.get-service", "s") == SERVICE | {"service_type_id": "t"}


def test_odd_words_are_ignored(host: Host, server: Stub) -> None:
    server.respond(
        StubResponse(200, b'{"item": {"clientId": "c", "clientName": "n", "isInactive": 1}}')
    )
    assert host.call("clients.get-client", "c") == CLIENT
