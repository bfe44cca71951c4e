"""`invoicing` row by row."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from algaenv.runner.execute.invocation import DEFAULT_CAPABILITIES

from .conftest import Begin
from .host import Host
from .stub import Stub, StubResponse

CREATE = "invoicing.create-manual-invoice"
ITEM = {
    "service_id": "s",
    "quantity": 1.0,
    "description": "d",
    "rate": 2.5,
    "is_discount": None,
    "discount_type": None,
    "applies_to_item_id": None,
    "applies_to_service_id": None,
}
WANTED = {
    "client_id": "c",
    "items": [ITEM],
    "invoice_date": None,
    "due_date": None,
    "po_number": None,
}
NOTHING = {
    "success": False,
    "invoice_id": None,
    "invoice_number": None,
    "status": None,
    "subtotal": None,
    "tax": None,
    "total": None,
    "error": None,
    "field_errors": None,
}


def test_the_least(host: Host, server: Stub) -> None:
    server.respond_json({"success": True})
    assert host.call(CREATE, WANTED) == NOTHING | {"success": True}
    assert server.last.target == "/api/internal/ext-invoicing/install/i1"
    assert server.last.json() == {
        "operation": "createManualInvoice",
        "clientId": "c",
        "items": [{"serviceId": "s", "quantity": 1.0, "description": "d", "rate": 2.5}],
    }
    assert b'"quantity":1.0' in server.last.body


def test_the_most(host: Host, server: Stub) -> None:
    server.respond_json({})
    item = ITEM | {
        "is_discount": False,
        "discount_type": "percentage",
        "applies_to_item_id": "",
        "applies_to_service_id": "x",
    }
    dates = {"invoice_date": "2026-01-02", "due_date": "2026-01-03", "po_number": "7"}
    host.call(CREATE, WANTED | dates | {"items": [item, ITEM]})
    assert server.last.json() == {
        "operation": "createManualInvoice",
        "clientId": "c",
        "items": [
            {
                "serviceId": "s",
                "quantity": 1.0,
                "description": "d",
                "rate": 2.5,
                "isDiscount": False,
                "discountType": "percentage",
                "appliesToItemId": "",
                "appliesToServiceId": "x",
            },
            {"serviceId": "s", "quantity": 1.0, "description": "d", "rate": 2.5},
        ],
        "invoiceDate": "2026-01-02",
        "dueDate": "2026-01-03",
        "poNumber": "7",
    }


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks(host: Host, server: Stub, number: float) -> None:
    server.respond_json({})
    host.call(CREATE, WANTED | {"items": [ITEM | {"quantity": number, "rate": number}]})
    sent: Any = server.last.json()
    assert (sent["items"][0]["quantity"], sent["items"][0]["rate"]) == (0.0, 0.0)


def test_missing_capability(host: Host, server: Stub) -> None:
    error = "Permission denied: cap:invoice.manual.create not granted"
    assert host.call(CREATE, WANTED, capabilities=DEFAULT_CAPABILITIES, install=None) == NOTHING | {
        "error": error
    }
    assert server.asked == []


def test_missing_install_id(host: Host, server: Stub) -> None:
    error = "Permission denied: install_id missing"
    assert host.call(CREATE, WANTED, install=None) == NOTHING | {"error": error}
    assert server.asked == []
    host.call(CREATE, WANTED, install="")
    assert server.last.target == "/api/internal/ext-invoicing/install/"


def test_nobody_to_ask(begin: Begin) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for env, error in (
            ({"RUNNER_SERVICE_TOKEN": "t"}, "invoicing base URL not configured"),
            ({"REGISTRY_BASE_URL": gone}, "runner auth token not configured"),
            ({"REGISTRY_BASE_URL": gone, "RUNNER_SERVICE_TOKEN": "t"}, "transport failure"),
        ):
            assert begin(**env).call(CREATE, WANTED) == NOTHING | {"error": error}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (StubResponse(500, b"broken"), "http 500: broken"),
        (StubResponse(400, b'{"success":false}'), 'http 400: {"success":false}'),
        (StubResponse(403), "http 403: "),
        (StubResponse(404, b"\xff!"), "http 404: \ufffd!"),
        (StubResponse(200, b"{"), "invalid JSON response"),
        (StubResponse(200, b"[]"), "invalid response"),
        (StubResponse(200, b"  "), "invalid response"),
        (StubResponse(204), "invalid response"),
        (StubResponse(200, b"{}", cut=True), "transport failure"),
    ],
)
def test_errors(host: Host, server: Stub, said: StubResponse, error: str) -> None:
    server.respond(said)
    assert host.call(CREATE, WANTED) == NOTHING | {"error": error}


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (
            {
                "success": True,
                "invoice": {
                    "invoiceId": "i", "invoiceNumber": "n", "status": "draft", "subtotal": 1,
                    "tax": 0.5, "total": 1.5, "error": "unseen",
                },
            },
            {
                "success": True, "invoice_id": "i", "invoice_number": "n", "status": "draft",
                "subtotal": 1.0, "tax": 0.5, "total": 1.5,
            },
        ),
        (
            {"invoice_id": "a", "status": "top", "invoice": {"status": "below", "total": 1}},
            {"invoice_id": "a", "status": "top", "total": 1.0},
        ),
        (
            {"invoice_id": "second", "invoice": {"invoiceId": "first"}},
            {"invoice_id": "first"},
        ),
        ({"invoice": {"invoice_number": "n"}, "tax": 0}, {"invoice_number": "n", "tax": 0.0}),
        ({"success": 1, "total": "1", "tax": True, "status": 5, "invoice": []}, {}),
        ({"total": 10**400}, {}),
        ({"error": "no", "fieldErrors": None}, {"error": "no"}),
        ({"error": {"a": 1}, "fieldErrors": "text"}, {"field_errors": "text"}),
        ({"field_errors": {"a": "ü"}}, {"field_errors": '{"a":"ü"}'}),
    ],
)  # fmt: skip
def test_results(host: Host, server: Stub, answer: object, fields: dict[str, object]) -> None:
    server.respond_json(answer)
    assert host.call(CREATE, WANTED) == NOTHING | fields
