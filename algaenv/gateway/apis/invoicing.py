"""Manual invoices: checked field by field, added up, kept in memory and listed.

Invoices are never booked or sent.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.apis.api_endpoint import (
    ApiCall,
    ApiError,
    ApiResponse,
    InvalidBody,
    iso_timestamp,
    to_http,
    utf16_length,
)
from algaenv.gateway.apis.directory import Directory

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install
    from algaenv.gateway.state import AppState


_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_DESCRIPTION = 500
_MAX_PO_NUMBER = 128
_ALL_PERCENT = 100
"""Percent."""


class InvalidFields(Exception):
    """`errors` has one message a field, which is named as `items[0].rate`."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class InvoiceItem:
    """One line. Rates are in minor units, of a discount in percent it may be."""

    serviceId: str
    quantity: float
    description: str
    rate: float
    isDiscount: bool
    discountType: Literal["percentage", "fixed"] | None
    appliesToItemId: str | None
    appliesToServiceId: str | None


@dataclass(frozen=True, slots=True)
class InvoiceRequest:
    """A whole invoice. Dates are `YYYY-MM-DD`."""

    clientId: str
    items: tuple[InvoiceItem, ...]
    invoiceDate: str | None
    dueDate: str | None
    poNumber: str | None


def parse_invoice(body: Mapping[str, Any]) -> InvoiceRequest:
    """Read a body. Raises InvalidFields with all that is wrong."""
    errors = _Errors()
    client = errors.id(body, "clientId", "clientId")
    to_listing = body.get("items")
    items: list[InvoiceItem] = []
    if not isinstance(to_listing, list) or not to_listing:
        errors.add("items", "There must be at least one item")
    else:
        items = [_item(each, f"items[{number}]", errors) for number, each in enumerate(to_listing)]
    request = InvoiceRequest(
        clientId=client,
        items=tuple(items),
        invoiceDate=errors.date(body, "invoiceDate"),
        dueDate=errors.date(body, "dueDate"),
        poNumber=_text(body.get("poNumber")) or None,
    )
    if request.poNumber and utf16_length(request.poNumber) > _MAX_PO_NUMBER:
        errors.add("poNumber", f"No more than {_MAX_PO_NUMBER} characters")
    if errors.found:
        raise InvalidFields(errors.found)
    return request


class _Errors:
    """The first error of each field."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, field: str, message: str) -> None:
        self.found.setdefault(field, message)

    def id(self, fields: Mapping[str, Any], name: str, field: str) -> str:
        value = _text(fields.get(name))
        if not value:
            self.add(field, "Required")
        elif not _ID.fullmatch(value):
            self.add(field, "Not a UUID")
        return value

    def date(self, fields: Mapping[str, Any], name: str) -> str | None:
        value = _text(fields.get(name))
        if value and not _DATE.fullmatch(value):
            self.add(name, "Not a date as YYYY-MM-DD")
        return value or None

    def number(
        self, fields: Mapping[str, Any], name: str, field: str, least: float, *, above: bool
    ) -> float:
        value = _number(fields.get(name))
        if not (math.isfinite(value) and (value > least if above else value >= least)):
            self.add(field, f"Must be {'more than' if above else 'at least'} {least:g}")
        return value


def _item(value: Any, field: str, errors: _Errors) -> InvoiceItem:
    if not isinstance(value, dict):
        errors.add(field, "Not an item")
        value = {}
    description = _text(value.get("description"))
    if not description:
        errors.add(f"{field}.description", "Required")
    elif utf16_length(description) > _MAX_DESCRIPTION:
        errors.add(f"{field}.description", f"No more than {_MAX_DESCRIPTION} characters")
    item = InvoiceItem(
        serviceId=errors.id(value, "serviceId", f"{field}.serviceId"),
        quantity=errors.number(value, "quantity", f"{field}.quantity", 0, above=True),
        description=description,
        rate=errors.number(value, "rate", f"{field}.rate", 0, above=False),
        isDiscount=bool(value.get("isDiscount")),
        discountType=_discount_type(value.get("discountType")),
        appliesToItemId=_target(value, "appliesToItemId", field, errors),
        appliesToServiceId=_target(value, "appliesToServiceId", field, errors),
    )
    _check_discount(item, value, field, errors)
    return item


def _check_discount(
    item: InvoiceItem, value: Mapping[str, Any], field: str, errors: _Errors
) -> None:
    targets = [name for name in ("appliesToItemId", "appliesToServiceId") if name in value]
    if item.isDiscount:
        if item.discountType is None:
            errors.add(f"{field}.discountType", "Required of a discount")
        if item.discountType == "percentage" and item.rate > _ALL_PERCENT:
            errors.add(f"{field}.rate", "A discount in percent is from 0 to 100")
        if len(targets) > 1:
            errors.add(field, "A discount applies to an item or to a service, not to both")
        return
    if _text(value.get("discountType")):
        errors.add(f"{field}.discountType", "Only a discount has one")
    if targets:
        errors.add(field, "Only a discount applies to something")


def _target(value: Mapping[str, Any], name: str, field: str, errors: _Errors) -> str | None:
    return errors.id(value, name, f"{field}.{name}") if name in value else None


def _discount_type(value: Any) -> Literal["percentage", "fixed"] | None:
    match _text(value):
        case "percentage":
            return "percentage"
        case "fixed":
            return "fixed"
        case _:
            return None


def _text(value: Any) -> str:
    """Trimmed; what is no string is spelled as one, and then fits no rule."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else str(value)


def _number(value: Any) -> float:
    """As JavaScript turns it into a number; NaN where it does not."""
    if isinstance(value, bool | int | float):
        return float(value)
    if value is None:
        return math.nan
    try:
        return float(value.strip() or 0) if isinstance(value, str) else math.nan
    except ValueError:
        return math.nan


CAPABILITY = "cap:invoice.manual.create"
MAX_INVOICES = 1_000


@dataclass(frozen=True, slots=True)
class Invoice:
    """A draft. Amounts are in minor units."""

    id: str
    number: str
    subtotal: int
    request: InvoiceRequest
    client_name: str
    install: str
    extension: str
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """As extensions see it. Nothing is taxed."""
        return {
            "invoiceId": self.id,
            "invoiceNumber": self.number,
            "status": "draft",
            "subtotal": self.subtotal,
            "tax": 0,
            "total": self.subtotal,
        }

    def to_listing(self) -> dict[str, Any]:
        """As the page of invoices shows it."""
        return {
            **self.to_json(),
            **asdict(self.request),
            "clientName": self.client_name,
            "installId": self.install,
            "extensionId": self.extension,
            "createdAt": iso_timestamp(self.created_at),
        }


class InvoicingApi:
    """`ext-invoicing`."""

    name = "invoicing"

    def __init__(self, state: AppState, fixtures: Directory) -> None:
        self._state = state
        self._fixtures = fixtures
        self._invoices: list[Invoice] = []
        self._count = 0

    async def handle(self, call: ApiCall) -> ApiResponse:
        """See `Api`."""
        if call.operation != "createManualInvoice":
            return ApiResponse(400, {"error": "Unsupported operation"})
        install = await self._state.installs.get(call.install_id)
        if install is None:
            return ApiResponse(404, {"error": "Install not found"})
        call.extension = install.registry_id
        if CAPABILITY not in install.providers:
            return ApiResponse(403, {"success": False, "error": f"{CAPABILITY} is not granted"})
        try:
            request = parse_invoice(call.body)
        except InvalidFields as error:
            return _failure("Validation error", error.errors)
        client = self._fixtures.client(request.clientId)
        if client is None:
            return _failure("Client not found", {"clientId": "Client not found"})
        if not all(self._fixtures.service(it.serviceId) for it in request.items):
            return _failure("Service not found", {"serviceId": "Service not found"})
        invoice = self._made(request, install, client.clientName)
        call.subject = invoice.number
        return ApiResponse(201, {"success": True, "invoice": invoice.to_json()})

    def refusal(self, error: ApiError | InvalidBody) -> ApiResponse:
        """See `Api`."""
        assert isinstance(error, ApiError)  # noqa: S101 - shapes are not asked for here
        return ApiResponse(error.status, {"error": error.message, "code": error.code})

    def listing(self) -> Route:
        """`GET /algaenv/invoices`: the last ones, newest first."""

        async def listed(request: Request) -> Response:  # noqa: ARG001
            invoices = [it.to_listing() for it in reversed(self._invoices)]
            return to_http(ApiResponse(200, {"invoices": invoices}))

        return Route("/algaenv/invoices", listed)

    def _made(self, request: InvoiceRequest, install: Install, client: str) -> Invoice:
        self._count += 1
        invoice = Invoice(
            id=str(uuid.uuid4()),
            number=f"INV-{self._count:06}",
            subtotal=subtotal(request.items),
            request=request,
            client_name=client,
            install=install.install_id,
            extension=install.registry_id,
            created_at=datetime.now(UTC),
        )
        self._invoices = [*self._invoices[1 - MAX_INVOICES :], invoice]
        event = {"type": "invoice-created", "extension": install.registry_id}
        self._state.events.publish(event | invoice.to_json() | {"clientName": client})
        return invoice


def subtotal(items: Sequence[InvoiceItem]) -> int:
    """Lines less discounts. A discount in percent is taken off what it applies to, else off all.

    Rates are rounded before they are multiplied, as the product does it.
    """
    lines = [(it, round(it.quantity * _rate(it))) for it in items if not it.isDiscount]
    return sum(amount for _, amount in lines) - sum(
        _discount_amount(it, lines) for it in items if it.isDiscount
    )


def _discount_amount(discount: InvoiceItem, lines: Sequence[tuple[InvoiceItem, int]]) -> int:
    if discount.discountType == "fixed":
        return round(discount.quantity * _rate(discount))
    service = discount.appliesToServiceId
    of = sum(amount for it, amount in lines if service in {None, it.serviceId})
    return round(of * _rate(discount) / 100)


def _rate(item: InvoiceItem) -> int:
    """Halves go up, as JavaScript rounds."""
    return int(item.rate + 0.5)


def _failure(error: str, fields: object) -> ApiResponse:
    return ApiResponse(400, {"success": False, "error": error, "fieldErrors": fields})
