"""Manual invoices: what is refused, how they add up, and where they are listed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from algaenv.gateway.apis import directory
from algaenv.gateway.apis.invoicing import InvalidFields, parse_invoice, subtotal
from algaenv.gateway.settings import Settings
from tests.gateway.seed import Extension

from .conftest import Api, Gateways, find_event

KNOWN = directory.load_directory(Settings())
CLIENT = KNOWN.clients[0].clientId
LICENSE, SUPPORT = (it.serviceId for it in KNOWN.services)
ITEM = {"serviceId": SUPPORT, "quantity": 2.0, "description": "Work", "rate": 1000.0}
INVOICE = {"operation": "createManualInvoice", "clientId": CLIENT, "items": [ITEM]}


@pytest.fixture
def invoicing(gateways: Gateways, extension: Extension) -> Api:
    return Api(gateways.faithful, "invoicing", extension.install)


def test_an_invoice(gateways: Gateways, extension: Extension, invoicing: Api) -> None:
    answer = invoicing({**INVOICE, "invoiceDate": "2026-01-02", "poNumber": " 7 "})
    assert answer.status == 201
    invoice = answer.json["invoice"]
    assert answer.json == {
        "success": True,
        "invoice": {
            "invoiceId": invoice["invoiceId"],
            "invoiceNumber": invoice["invoiceNumber"],
            "status": "draft",
            "subtotal": 2000,
            "tax": 0,
            "total": 2000,
        },
    }
    second = invoicing(INVOICE).json["invoice"]
    assert second["invoiceNumber"] > invoice["invoiceNumber"]
    listed = gateways.faithful.ask("/algaenv/invoices").json["invoices"]
    assert [it["invoiceId"] for it in listed[:2]] == [second["invoiceId"], invoice["invoiceId"]]
    assert (
        listed[1].items()
        >= {
            "clientId": CLIENT,
            "clientName": KNOWN.clients[0].clientName,
            "extensionId": extension.registry,
            "installId": extension.install,
            "invoiceDate": "2026-01-02",
            "dueDate": None,
            "poNumber": "7",
        }.items()
    )
    assert listed[1]["items"][0].items() >= ITEM.items()
    assert find_event(gateways.faithful, extension, "invoice-created")["total"] == 2000


def _with(**more: object) -> dict[str, object]:
    return {**INVOICE, "items": [{**ITEM, **more}]}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"operation": "createManualInvoice"}, {"clientId", "items"}),
        ({**INVOICE, "clientId": "x"}, {"clientId"}),
        ({**INVOICE, "clientId": str(uuid.UUID(int=0))}, {"clientId"}),
        ({**INVOICE, "clientId": str(uuid.uuid4())}, {"clientId"}),
        ({**INVOICE, "items": []}, {"items"}),
        ({**INVOICE, "items": {}}, {"items"}),
        ({**INVOICE, "items": [ITEM, {**ITEM, "rate": -1}]}, {"items[1].rate"}),
        ({**INVOICE, "invoiceDate": "2 Jan"}, {"invoiceDate"}),
        ({**INVOICE, "dueDate": "2026-1-2"}, {"dueDate"}),
        ({**INVOICE, "poNumber": "x" * 129}, {"poNumber"}),
        (_with(serviceId=str(uuid.uuid4())), {"serviceId"}),
        (_with(serviceId=None), {"items[0].serviceId"}),
        (_with(quantity=0), {"items[0].quantity"}),
        (_with(quantity="two"), {"items[0].quantity"}),
        (_with(quantity=None), {"items[0].quantity"}),
        (_with(rate={}), {"items[0].rate"}),
        (_with(description=" "), {"items[0].description"}),
        (_with(description="x" * 501), {"items[0].description"}),
        (_with(discountType="fixed"), {"items[0].discountType"}),
        (_with(appliesToServiceId=SUPPORT), {"items[0]"}),
        (_with(isDiscount=True), {"items[0].discountType"}),
        (_with(isDiscount=True, discountType="half"), {"items[0].discountType"}),
        (_with(isDiscount=True, discountType="percentage", rate=101), {"items[0].rate"}),
        (
            _with(isDiscount=True, discountType="fixed", appliesToItemId="x"),
            {"items[0].appliesToItemId"},
        ),
        (
            _with(
                isDiscount=True,
                discountType="fixed",
                appliesToItemId=SUPPORT,
                appliesToServiceId=SUPPORT,
            ),
            {"items[0]"},
        ),
    ],
)
def test_refusals(invoicing: Api, body: Mapping[str, Any], fields: set[str]) -> None:
    answer = invoicing(body)
    assert answer.status == 400
    assert answer.json["success"] is False
    assert set(answer.json["fieldErrors"]) == fields


def test_items_that_are_none(invoicing: Api) -> None:
    answer = invoicing({**INVOICE, "items": [5, None]})
    assert answer.json["fieldErrors"] == {"items[0]": "Invalid item", "items[1]": "Invalid item"}


def test_words_of_refusals(invoicing: Api) -> None:
    """Handlers read them: they are the product's."""
    discount = {"isDiscount": True, "appliesToItemId": SUPPORT, "appliesToServiceId": LICENSE}
    items = [
        {"serviceId": " ", "quantity": "0x", "description": "x" * 501, "rate": -1},
        {**ITEM, "serviceId": 5, "discountType": "half", "appliesToItemId": "x"},
        {**ITEM, **discount, "discountType": "percentage", "rate": 101},
        {**ITEM, **discount, "appliesToServiceId": None},
    ]
    asked = {**INVOICE, "clientId": "x", "items": items, "dueDate": 5, "poNumber": "x" * 129}
    assert invoicing(asked).json == {
        "success": False,
        "error": "Validation error",
        "fieldErrors": {
            "clientId": "Invalid UUID",
            "items[0].serviceId": "Required",
            "items[0].quantity": "Must be > 0",
            "items[0].description": "Too long",
            "items[0].rate": "Must be >= 0",
            "items[1].serviceId": "Invalid UUID",
            "items[1].discountType": "Not allowed unless isDiscount=true",
            "items[1]": "appliesTo* fields require isDiscount=true",
            "items[1].appliesToItemId": "Invalid UUID",
            "items[2].rate": "Percentage discount rate must be between 0 and 100",
            "items[2]": "Provide only one of appliesToItemId or appliesToServiceId",
            "items[3].discountType": "Required when isDiscount=true",
            "items[3].appliesToServiceId": "Required",
            "dueDate": "Invalid date (expected YYYY-MM-DD)",
            "poNumber": "Too long",
        },
    }


def test_services_of_discounts(invoicing: Api) -> None:
    discount = {**ITEM, "rate": 10, "isDiscount": True, "discountType": "percentage"}
    stray = invoicing({**INVOICE, "items": [ITEM, {**discount, "appliesToServiceId": LICENSE}]})
    assert (stray.status, set(stray.json)) == (400, {"success", "error"})
    unknown = invoicing({**INVOICE, "items": [ITEM, {**discount, "serviceId": str(uuid.uuid4())}]})
    assert (unknown.status, unknown.json["invoice"]["subtotal"]) == (201, 1800)


def test_sums_that_no_table_holds(invoicing: Api) -> None:
    for quantity, rate in ((1e308, 1e308), (1, 1e19), ("1e400", 1)):
        items = [{**ITEM, "quantity": quantity, "rate": rate}]
        answer = invoicing({**INVOICE, "items": items})
        assert (answer.status, answer.json["success"]) == (400, False)


@pytest.mark.parametrize("rate", [None, [], [7], "0x10", "0b11", " .5 ", True, -0.0])
def test_what_is_a_number(rate: object) -> None:
    """What JavaScript turns into one."""
    asked = parse_invoice({"clientId": CLIENT, "items": [{**ITEM, "rate": rate}]})
    assert asked.items[0].rate >= 0


@pytest.mark.parametrize("quantity", ["1_0", "Infinity", "x", {}, [1, 2], None, "", " ", "0x"])
def test_what_is_none(quantity: object) -> None:
    with pytest.raises(InvalidFields):
        parse_invoice({"clientId": CLIENT, "items": [{**ITEM, "quantity": quantity}]})


def test_capability(gateways: Gateways) -> None:
    plain = Api(gateways.faithful, "invoicing", gateways.install(capabilities=()).install)
    answer = plain(INVOICE)
    assert (answer.status, answer.json["success"]) == (403, False)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([(2, 1000, {})], 2000),
        ([(1.5, 333.5, {})], 501),
        ([("3", "10", {})], 30),
        ([(1, 1000, {}), (1, 150, {"discountType": "fixed"})], 850),
        ([(1, 1000, {}), (1, 10, {"discountType": "percentage"})], 900),
        (
            [
                (1, 1000, {}),
                (1, 500, {"serviceId": LICENSE}),
                (1, 10, {"discountType": "percentage", "appliesToServiceId": LICENSE}),
            ],
            1450,
        ),
        # Halves of a cent go away from zero, a product that falls short of one does not.
        ([(0.5, 101, {})], 51),
        ([(2.5, 1, {})], 3),
        ([(1.005, 100, {})], 100),
        ([(1, 5, {}), (1, 50, {"discountType": "percentage"})], 2),
        # A discount counts once, whatever its quantity, and each percentage is of what is left.
        ([(1, 1000, {}), (3, 150, {"discountType": "fixed"})], 850),
        ([(1, 100, {}), (1, 300, {"discountType": "fixed"})], -200),
        (
            [
                (1, 10, {"discountType": "percentage"}),
                (1, 999, {}),
                (1, 20, {"discountType": "percentage"}),
                (1, 30, {"discountType": "percentage"}),
            ],
            503,
        ),
        (
            [
                (1, 1000, {}),
                (1, 400, {}),
                (1, 10, {"discountType": "percentage", "appliesToServiceId": SUPPORT}),
            ],
            1360,
        ),
        ([(1, 100, {}), (1, 10, {"discountType": "percentage", "appliesToItemId": SUPPORT})], 100),
        ([(1, 100, {}), (1, 10, {"discountType": "fixed", "appliesToItemId": SUPPORT})], 90),
    ],
)
def test_sums(items: list[tuple[Any, Any, dict[str, str]]], expected: int) -> None:
    lines = [
        {**ITEM, "quantity": quantity, "rate": rate, "isDiscount": "discountType" in more, **more}
        for quantity, rate, more in items
    ]
    asked = parse_invoice({"clientId": CLIENT, "items": lines})
    assert subtotal(asked.items) == expected
