"""6.10: clients."""

from __future__ import annotations

from typing import Any

import pytest

from .calls import USER, Caller, Json, do, snake
from .internal import Api
from .stub import Reply, said

STATUSES = {
    400: "invalid-input",
    401: "not-allowed",
    403: "not-allowed",
    404: "internal",
    422: "internal",
    429: "internal",
    500: "internal",
}
GET = do("clients.get-client", "c-1")
CLIENT: Json = {
    "clientId": "c-1",
    "clientName": "Client",
    "clientType": "company",
    "isInactive": True,
    "defaultCurrencyCode": "EUR",
    "accountManagerId": "m-1",
    "accountManagerName": "Mo",
    "billingEmail": "b@example.test",
}
SEEN: Json = {
    "client_id": "c-1",
    "client_name": "Client",
    "client_type": "company",
    "is_inactive": True,
    "default_currency_code": "EUR",
    "account_manager_id": "m-1",
    "account_manager_name": "Mo",
    "billing_email": "b@example.test",
}
LEAST = {"clientId": "c-1", "clientName": "Client"}
SEEN_LEAST = dict.fromkeys(SEEN) | {
    "client_id": "c-1",
    "client_name": "Client",
    "is_inactive": False,
}


@pytest.fixture
def api(caller: Caller) -> Api:
    return Api(caller, "ext-clients")


def listed(**fields: object) -> Json:
    return do("clients.list-clients", fields)


def pages(*items: Json, total: int = 0, page: int = 1, size: int = 25) -> Json:
    return {"ok": {"items": list(items), "total_count": total, "page": page, "page_size": size}}


@pytest.mark.parametrize(
    ("call", "body"),
    [
        pytest.param(
            listed(), {"operation": "list", "input": {"page": 1, "pageSize": 25}}, id="6.10-list"
        ),
        pytest.param(
            listed(search="", include_inactive=False, page=3, page_size=100),
            {
                "operation": "list",
                "input": {"search": "", "includeInactive": False, "page": 3, "pageSize": 100},
            },
            id="6.10-list-all",
        ),
        pytest.param(
            listed(page=2**32 - 1, page_size=1),
            {"operation": "list", "input": {"page": 2**32 - 1, "pageSize": 1}},
            id="6.10-list-far",
        ),
        pytest.param(GET, {"operation": "get", "input": {"clientId": "c-1"}}, id="6.10-get"),
    ],
)
def test_6_10_what_is_asked(api: Api, *, call: Json, body: Json) -> None:
    api.answers({"item": None})
    api.caller.gets(call)
    api.caller.gets(call, user=USER)
    who = {"userId": "u-1", "userType": "internal"}
    assert api.bodies == [body, body | {"user": who}]


@pytest.mark.parametrize(
    "fields", [{"page": 0}, {"page_size": 0}, {"page_size": 101}, {"page": 0, "page_size": 500}]
)
def test_6_10_pages_that_are_refused(api: Api, fields: Json) -> None:
    assert api.gives({}, listed(**fields)) == {"err": "invalid-input"}
    assert api.asked == []


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("call", [listed(), GET], ids=["list", "get"])
def test_6_10_statuses(api: Api, *, call: Json, status: int) -> None:
    assert api.gives(Reply(status, b"why"), call) == {"err": STATUSES[status]}


@pytest.mark.parametrize("style", ["camel", "snake"])
def test_6_10_clients(api: Api, style: str) -> None:
    one = CLIENT if style == "camel" else snake(CLIENT)
    paging = {"totalCount": 7, "page": 2, "pageSize": 10}
    answer = {"items": [one, LEAST], **(paging if style == "camel" else snake(paging))}
    assert api.gives(answer, listed()) == pages(SEEN, SEEN_LEAST, total=7, page=2, size=10)
    assert api.gives({"item": one}, GET) == {"ok": SEEN}


@pytest.mark.parametrize(
    "answer",
    [{}, {"items": []}, {"totalCount": "7"}],
    ids=["6.10-nothing", "6.10-empty", "6.10-text"],
)
def test_6_10_what_is_not_said(api: Api, answer: Json) -> None:
    assert api.gives(answer, listed(page=9, page_size=9)) == pages()


@pytest.mark.parametrize(
    "reply", [Reply(200), said(None), said([]), said("x")], ids=["empty", "null", "array", "text"]
)
def test_6_10_lists_are_objects(api: Api, reply: Reply) -> None:
    assert api.gives(reply, listed()) == {"err": "internal"}


BROKEN = [
    pytest.param({"clientName": "x"}, id="6.10-no-id"),
    pytest.param({"clientId": "x"}, id="6.10-no-name"),
    pytest.param(LEAST | {"clientId": 5}, id="6.10-id-is-a-number"),
    pytest.param(LEAST | {"clientName": None}, id="6.10-name-is-null"),
    pytest.param("text", id="6.10-no-object"),
    pytest.param([], id="6.10-array"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_6_10_broken_clients(api: Api, broken: Any) -> None:
    assert api.gives({"items": [CLIENT, broken]}, listed()) == {"err": "internal"}
    assert api.gives({"item": broken}, GET) == {"err": "internal"}


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        pytest.param({"item": None}, {"ok": None}, id="6.10-null"),
        pytest.param({}, {"err": "internal"}, id="6.10-absent"),
        pytest.param({"client": CLIENT}, {"err": "internal"}, id="6.10-another-name"),
    ],
)
def test_6_10_no_client(api: Api, *, answer: Json, given: object) -> None:
    assert api.gives(answer, GET) == given


def test_6_10_optional_values_of_another_type(api: Api) -> None:
    odd = LEAST | {"clientType": 5, "isInactive": "true", "billingEmail": None}
    assert api.gives({"item": odd}, GET) == {"ok": SEEN_LEAST}
