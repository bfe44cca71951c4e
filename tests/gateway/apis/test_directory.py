"""Clients and services: the default ones, those of the settings, and who may ask."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from algaenv.gateway.apis import directory
from algaenv.gateway.settings import Settings, SettingsError
from algaenv.gateway.users import default_users
from tests.gateway.conftest import Start
from tests.gateway.seed import Extension, install
from tests.servers import Database

from .conftest import CAPABILITIES, Api, Gateways

MSP, PORTAL = default_users()
CLIENTS = [
    {"clientId": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"c{it}")), "clientName": f"Client {it:02}"}
    for it in range(30)
]


@pytest.fixture
def clients(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.faithful, "clients", extension.install)


@pytest.fixture
def services(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.faithful, "services", extension.install)


def test_default_clients(clients: Api) -> None:
    page = clients.ok("list")
    assert page == {
        "items": [
            {
                "clientId": PORTAL.client_id,
                "clientName": "Example Client",
                "clientType": "company",
                "isInactive": False,
                "defaultCurrencyCode": "USD",
                "accountManagerId": None,
                "accountManagerName": None,
                "billingEmail": PORTAL.email,
            }
        ],
        "totalCount": 1,
        "page": 1,
        "pageSize": 25,
    }
    everybody = clients.ok("list", input={"includeInactive": True})
    assert [it["isInactive"] for it in everybody["items"]] == [False, True]
    found = clients.ok("get", input={"clientId": str(PORTAL.client_id).upper()})
    assert found == {"item": page["items"][0]}
    assert clients.ok("get", input={"clientId": str(uuid.uuid4())}) == {"item": None}


def test_default_services(services: Api) -> None:
    def names(**asked: object) -> list[str]:
        return [it["serviceName"] for it in services.ok("list", input=asked)["items"]]

    assert names() == ["License", "Support"]
    assert names(itemKind="product") == ["License"]
    assert names(billingMethod="hourly") == ["Support"]
    assert names(isActive=True) == ["License", "Support"]
    assert names(isActive=False) == []
    assert names(search=" supp ") == ["Support"]
    assert names(search="lic-1") == ["License"]
    # What is looked for is a pattern of the database.
    assert names(search="%") == names()
    assert names(search="s_pport") == ["Support"]
    assert names(search="s\\_pport") == []
    first = services.ok("list")["items"][0]
    assert set(first) == {
        "serviceId",
        "serviceName",
        "itemKind",
        "billingMethod",
        "serviceTypeId",
        "serviceTypeName",
        "defaultRate",
        "unitOfMeasure",
        "isActive",
        "sku",
    }
    assert services.ok("get", input={"serviceId": first["serviceId"]}) == {"item": first}


BAD_PAGES: tuple[Any, ...] = (
    {"search": "x" * 201},
    {"search": None},
    {"page": 0},
    {"page": 10_001},
    {"page": 1.5},
    {"pageSize": 0},
    {"pageSize": 101},
    [],
    "x",
)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *(
            (name, {"operation": "list", "input": asked})
            for name in ("clients", "services")
            for asked in BAD_PAGES
        ),
        ("clients", {"operation": "list", "input": {"includeInactive": "yes"}}),
        ("services", {"operation": "list", "input": {"itemKind": "thing"}}),
        ("services", {"operation": "list", "input": {"billingMethod": 1}}),
        ("services", {"operation": "list", "input": {"isActive": None}}),
        ("services", {"operation": "list", "input": {"isActive": ""}}),
        ("services", {"operation": "list", "input": {"itemKind": ""}}),
        ("clients", {"operation": "get"}),
        ("clients", {"operation": "get", "input": {"clientId": "x"}}),
        ("services", {"operation": "get", "input": {"serviceId": None}}),
        ("clients", {"operation": "list", "user": {"userId": ""}}),
        ("clients", {"operation": "list", "user": None}),
    ],
)
def test_bad_input(
    gateways: Gateways, extension: Extension, name: str, body: Mapping[str, Any]
) -> None:
    answer = Api(gateways.faithful, name, extension.install)(body)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_INPUT")
    assert set(answer.json["details"]) == {"formErrors", "fieldErrors"}


@pytest.mark.parametrize(
    ("user", "details"),
    [
        (None, {"formErrors": ["Expected object, received null"], "fieldErrors": {}}),
        (
            {"userId": ""},
            {
                "formErrors": [],
                "fieldErrors": {
                    "userId": ["String must contain at least 1 character(s)"],
                    "userType": ["Required"],
                },
            },
        ),
    ],
)
def test_words_about_a_user(services: Api, user: object, details: object) -> None:
    answer = services({"operation": "list", "user": user})
    assert answer.json["details"] == details


@pytest.mark.parametrize("name", ["clients", "services"])
def test_capability(gateways: Gateways, name: str) -> None:
    answer = Api(gateways.faithful, name, gateways.install().install)({"operation": "list"})
    assert answer.status == 200
    plain = Api(gateways.faithful, name, gateways.install(capabilities=()).install)
    answer = plain({"operation": "list"})
    assert (answer.status, answer.json["code"]) == (403, "NOT_ALLOWED")


@pytest.mark.parametrize("name", ["clients", "services"])
@pytest.mark.parametrize(("user", "status"), [(MSP.id, 200), (PORTAL.id, 403), ("nobody", 403)])
def test_permission(
    gateways: Gateways, extension: Extension, name: str, user: str, status: int
) -> None:
    body = {"operation": "list", "user": {"userId": user, "userType": "internal"}}
    assert Api(gateways.faithful, name, extension.install)(body).status == status


def test_search_for_clients_breaks(gateways: Gateways, extension: Extension, clients: Api) -> None:
    body = {"operation": "list", "input": {"search": "example"}}
    answer = clients(body)
    assert (answer.status, answer.json) == (
        500,
        {"error": "Internal error", "code": "INTERNAL_ERROR"},
    )
    assert answer.headers["x-algaenv-product-fault"] == "clients-search"
    assert clients({"operation": "list", "input": {"search": "  "}}).status == 200
    # A gateway without the product's faults grants what the install lists, and no more.
    gateways.database.sql(
        "UPDATE tenant_extension_install SET granted_caps = %s WHERE id = %s",
        json.dumps(CAPABILITIES),
        extension.install,
    )
    mended = Api(gateways.fixed, "clients", extension.install)
    assert mended(body).json["totalCount"] == 1
    for search, count in {"portal": 0, str(PORTAL.client_id)[:8]: 1, "SOMEONE@": 1, "ü": 0}.items():
        assert mended.ok("list", input={"search": search})["totalCount"] == count


def test_clients_of_the_settings(start: Start, tables: Database) -> None:
    extension = install(tables, "51bbbfe5-0720-4d9b-b3e5-b5b43e441a52", capabilities=CAPABILITIES)
    service = start({"clients": CLIENTS, "checks_off": ["client:read"]})
    clients = Api(service, "clients", extension.install)
    first = clients.ok("list")
    assert (len(first["items"]), first["totalCount"]) == (25, 30)
    second = clients.ok("list", input={"page": 2})
    assert [it["clientName"] for it in second["items"]] == [f"Client {it}" for it in range(25, 30)]
    far = clients.ok("list", input={"page": 9, "pageSize": 7})
    assert far == {"items": [], "totalCount": 30, "page": 9, "pageSize": 7}
    nobody = {"userId": "nobody", "userType": "internal"}
    assert clients({"operation": "list", "user": nobody}).status == 200


def test_bad_fixtures_are_all_told() -> None:
    settings = Settings(
        clients=({"clientId": "x", "clientName": 5}, CLIENTS[0], CLIENTS[0]),
        services=({"serviceId": CLIENTS[0]["clientId"], "serviceName": "S", "color": "red"},),
    )
    with pytest.raises(SettingsError) as raised:
        directory.load_directory(settings)
    for part in (
        "clients[0].clientId",
        "clients[0].clientName",
        "more than once",
        "services[0].color",
    ):
        assert part in str(raised.value)
