"""Manual invoices: what is refused, how they add up, and where they are listed."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from algaenv.gateway.apis import directory
from algaenv.gateway.apis.invoicing import parse_invoice, subtotal
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
        (_with(rate=[]), {"items[0].rate"}),
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
        (_with(isDiscount=None, rate=math.inf), None),
    ],
)
def test_refusals(invoicing: Api, body: Mapping[str, Any], fields: set[str] | None) -> None:
    answer = invoicing(body)
    if fields is None:
        assert answer.json["code"] == "INTERNAL_ERROR"
        return
    assert answer.status == 400
    assert answer.json["success"] is False
    assert set(answer.json["fieldErrors"]) == fields


def test_items_that_are_none(invoicing: Api) -> None:
    answer = invoicing({**INVOICE, "items": [5, None]})
    assert {"items[0]", "items[1]"} < set(answer.json["fieldErrors"])


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
    ],
)
def test_sums(items: list[tuple[Any, Any, dict[str, str]]], expected: int) -> None:
    lines = [
        {**ITEM, "quantity": quantity, "rate": rate, "isDiscount": "discountType" in more, **more}
        for quantity, rate, more in items
    ]
    asked = parse_invoice({"clientId": CLIENT, "items": lines})
    assert subtotal(asked.items) == expected
