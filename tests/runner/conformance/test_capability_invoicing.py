"""6.9: invoices made by hand."""

from __future__ import annotations

import json

import pytest

from .calls import Caller, Json, do, snake
from .internal import Api
from .test_capability_gates import INVOICE, refused

ITEM = {"service_id": "s", "quantity": 1.0, "description": "d", "rate": 2.5}
SENT = {"serviceId": "s", "quantity": 1.0, "description": "d", "rate": 2.5}
NUMBERS = ("subtotal", "tax", "total")
INVOICE_FIELDS: Json = {
    "invoiceId": "i-1",
    "invoiceNumber": "INV-1",
    "status": "draft",
    "subtotal": 10.5,
    "tax": 2,
    "total": 12.5,
}
SEEN: Json = {
    "success": True,
    "invoice_id": "i-1",
    "invoice_number": "INV-1",
    "status": "draft",
    "subtotal": 10.5,
    "tax": 2.0,
    "total": 12.5,
    "error": None,
    "field_errors": None,
}


@pytest.fixture
def api(caller: Caller) -> Api:
    return Api(caller, "ext-invoicing")


def invoice(**changes: object) -> Json:
    return do("invoicing.create-manual-invoice", {"client_id": "c", "items": [ITEM], **changes})


@pytest.mark.parametrize(
    ("call", "more"),
    [
        pytest.param(invoice(), {}, id="6.9-least"),
        pytest.param(
            invoice(
                invoice_date="2026-01-02",
                due_date="2026-02-02",
                po_number="",
                items=[
                    {
                        **ITEM,
                        "is_discount": True,
                        "discount_type": "percentage",
                        "applies_to_item_id": "a",
                        "applies_to_service_id": "b",
                    },
                    {**ITEM, "is_discount": False, "discount_type": "fixed"},
                ],
            ),
            {
                "invoiceDate": "2026-01-02",
                "dueDate": "2026-02-02",
                "poNumber": "",
                "items": [
                    {
                        **SENT,
                        "isDiscount": True,
                        "discountType": "percentage",
                        "appliesToItemId": "a",
                        "appliesToServiceId": "b",
                    },
                    {**SENT, "isDiscount": False, "discountType": "fixed"},
                ],
            },
            id="6.9-all",
        ),
        pytest.param(invoice(items=[]), {"items": []}, id="6.9-no-items"),
    ],
)
def test_6_9_what_is_asked(api: Api, *, call: Json, more: Json) -> None:
    api.gives({}, call)
    expected = {"operation": "createManualInvoice", "clientId": "c", "items": [SENT], **more}
    assert api.bodies == [expected]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (100.0, "100.0"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        ("nan", "0"),
        ("inf", "0"),
        ("-inf", "0"),
    ],
)
def test_6_9_numbers_that_are_sent(api: Api, *, given: object, sent: str) -> None:
    api.gives({}, invoice(items=[{**ITEM, "quantity": given, "rate": given}]))
    (item,) = json.loads(api.asked[0].body, parse_float=str, parse_int=str)["items"]
    for name in ("quantity", "rate"):
        assert float(item[name]) == float(sent)
        if isinstance(given, float):
            assert not item[name].lstrip("-").isdigit(), "a float without a fraction"


@pytest.mark.parametrize("style", ["camel", "snake"])
@pytest.mark.parametrize("nested", [True, False], ids=["nested", "top"])
def test_6_9_the_answer(api: Api, *, nested: bool, style: str) -> None:
    fields = INVOICE_FIELDS if style == "camel" else snake(INVOICE_FIELDS)
    answer = {"success": True, "invoice": fields} if nested else {"success": True, **fields}
    assert api.gives(answer, invoice()) == {"ok": SEEN}


def test_6_9_the_top_comes_first(api: Api) -> None:
    answer = {
        "success": True,
        "invoiceId": "top",
        "invoice": {**INVOICE_FIELDS, "error": "not seen", "fieldErrors": "not seen"},
    }
    assert api.gives(answer, invoice()) == {"ok": SEEN | {"invoice_id": "top"}}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="6.9-nothing"),
        pytest.param({"success": False}, id="6.9-no-success"),
        pytest.param({"success": "true"}, id="6.9-text"),
        pytest.param({"success": None, "invoice": None}, id="6.9-null"),
        pytest.param({"invoice": [], "error": 5}, id="6.9-odd-invoice"),
    ],
)
def test_6_9_no_success(api: Api, answer: Json) -> None:
    refused(api.gives(answer, invoice()))


@pytest.mark.parametrize(
    ("errors", "text"),
    [
        pytest.param({"a": ["b"]}, '{"a":["b"]}', id="6.9-object"),
        pytest.param("text", "text", id="6.9-string"),
        pytest.param(None, None, id="6.9-null"),
        pytest.param(5, "5", id="6.9-number"),
        pytest.param(..., None, id="6.9-absent"),
    ],
)
@pytest.mark.parametrize("name", ["fieldErrors", "field_errors"])
def test_6_9_field_errors(api: Api, *, name: str, errors: object, text: str | None) -> None:
    answer: Json = {"success": False, "error": "e"}
    if errors is not ...:
        answer[name] = errors
    given = api.gives(answer, invoice())["ok"]
    assert (given["error"], given["field_errors"]) == ("e", text)


def test_6_9_values_of_another_type_are_none(api: Api) -> None:
    answer = {"success": True, "invoiceId": 5, "status": {}, "subtotal": "1", "tax": None}
    given = api.gives(answer, invoice())["ok"]
    assert given == dict.fromkeys(SEEN) | {"success": True}


def test_6_9_the_gate_comes_before_the_call(api: Api) -> None:
    assert api.gives({"success": True}, do("invoicing.create-manual-invoice", INVOICE))["ok"][
        "success"
    ]
    assert len(api.asked) == 1
