"""6.11: services and products."""

from __future__ import annotations

from typing import Any

import pytest

from .calls import USER, Caller, Json, do, snake
from .internal import Api
from .stub import Reply, said
from .test_capability_clients import STATUSES, pages

GET = do("services.get-service", "s-1")
SERVICE: Json = {
    "serviceId": "s-1",
    "serviceName": "Service",
    "itemKind": "product",
    "billingMethod": "hourly",
    "serviceTypeId": "t-1",
    "serviceTypeName": "Type",
    "defaultRate": 12.5,
    "unitOfMeasure": "hour",
    "isActive": False,
    "sku": "sku-1",
}
SEEN = snake(SERVICE)
LEAST = {
    "serviceId": "s-1",
    "serviceName": "Service",
    "itemKind": "service",
    "billingMethod": "usage",
}
SEEN_LEAST = (
    dict.fromkeys(SEEN)
    | snake(LEAST)
    | {
        "default_rate": 0.0,
        "unit_of_measure": "",
        "is_active": True,
    }
)


@pytest.fixture
def api(caller: Caller) -> Api:
    return Api(caller, "ext-services")


def listed(**fields: object) -> Json:
    return do("services.list-services", fields)


@pytest.mark.parametrize(
    ("call", "body"),
    [
        pytest.param(
            listed(), {"operation": "list", "input": {"page": 1, "pageSize": 25}}, id="6.11-list"
        ),
        pytest.param(
            listed(
                search="x",
                item_kind="service",
                is_active=False,
                billing_method="fixed",
                page=2,
                page_size=1,
            ),
            {
                "operation": "list",
                "input": {
                    "search": "x",
                    "itemKind": "service",
                    "isActive": False,
                    "billingMethod": "fixed",
                    "page": 2,
                    "pageSize": 1,
                },
            },
            id="6.11-list-all",
        ),
        pytest.param(GET, {"operation": "get", "input": {"serviceId": "s-1"}}, id="6.11-get"),
    ],
)
def test_6_11_what_is_asked(api: Api, *, call: Json, body: Json) -> None:
    api.answers({"item": None})
    api.caller.gets(call)
    api.caller.gets(call, user=USER)
    who = {"userId": "u-1", "userType": "internal"}
    assert api.bodies == [body, body | {"user": who}]


@pytest.mark.parametrize(
    ("name", "values"),
    [("item_kind", ("service", "product")), ("billing_method", ("fixed", "hourly", "usage"))],
)
def test_6_11_kinds_that_are_asked_for(api: Api, *, name: str, values: tuple[str, ...]) -> None:
    api.answers({})
    api.caller.does(*(listed(**{name: value}) for value in values))
    sent = {"item_kind": "itemKind", "billing_method": "billingMethod"}[name]
    assert [body["input"][sent] for body in api.bodies] == list(values)


@pytest.mark.parametrize("fields", [{"page": 0}, {"page_size": 0}, {"page_size": 101}])
def test_6_11_pages_that_are_refused(api: Api, fields: Json) -> None:
    assert api.gives({}, listed(**fields)) == {"err": "invalid-input"}
    assert api.asked == []


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("call", [listed(), GET], ids=["list", "get"])
def test_6_11_statuses(api: Api, *, call: Json, status: int) -> None:
    assert api.gives(Reply(status, b"why"), call) == {"err": STATUSES[status]}


@pytest.mark.parametrize("style", ["camel", "snake"])
def test_6_11_services(api: Api, style: str) -> None:
    one = SERVICE if style == "camel" else SEEN
    paging = {"totalCount": 7, "page": 2, "pageSize": 10}
    answer = {"items": [one, LEAST], **(paging if style == "camel" else snake(paging))}
    assert api.gives(answer, listed()) == pages(SEEN, SEEN_LEAST, total=7, page=2, size=10)
    assert api.gives({"item": one}, GET) == {"ok": SEEN}


@pytest.mark.parametrize(
    "reply", [Reply(200), said(None), said([]), said("x")], ids=["empty", "null", "array", "text"]
)
def test_6_11_lists_are_objects(api: Api, reply: Reply) -> None:
    assert api.gives(reply, listed()) == {"err": "internal"}


BROKEN = [
    *(
        pytest.param({n: v for n, v in LEAST.items() if n != gone}, id=f"6.11-no-{gone}")
        for gone in LEAST
    ),
    pytest.param(LEAST | {"serviceId": 5}, id="6.11-id-is-a-number"),
    pytest.param(LEAST | {"itemKind": "unsupported"}, id="6.11-unknown-kind"),
    pytest.param(LEAST | {"itemKind": "Service"}, id="6.11-kind-in-capitals"),
    pytest.param(LEAST | {"billingMethod": "bogus"}, id="6.11-unknown-method"),
    pytest.param("text", id="6.11-no-object"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_6_11_broken_services(api: Api, broken: Any) -> None:
    assert api.gives({"items": [SERVICE, broken]}, listed()) == {"err": "internal"}
    assert api.gives({"item": broken}, GET) == {"err": "internal"}


@pytest.mark.parametrize(
    ("rate", "seen"), [(5, 5.0), (0.1, 0.1), ("5", 0.0), (None, 0.0), ([], 0.0), (-1, -1.0)]
)
def test_6_11_rates(api: Api, *, rate: object, seen: float) -> None:
    given = api.gives({"item": LEAST | {"defaultRate": rate}}, GET)["ok"]
    assert given["default_rate"] == seen


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        pytest.param({"item": None}, {"ok": None}, id="6.11-null"),
        pytest.param({}, {"err": "internal"}, id="6.11-absent"),
    ],
)
def test_6_11_no_service(api: Api, *, answer: Json, given: object) -> None:
    assert api.gives(answer, GET) == given


def test_6_11_optional_values_of_another_type(api: Api) -> None:
    odd: Json = LEAST | {"sku": 5, "isActive": "no", "unitOfMeasure": None, "serviceTypeId": {}}
    assert api.gives({"item": odd}, GET) == {"ok": SEEN_LEAST}
