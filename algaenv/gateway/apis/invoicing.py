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
    Refusal,
    installed,
    to_http,
)
from algaenv.gateway.apis.directory import Directory
from algaenv.gateway.javascript import (
    is_true,
    iso_timestamp,
    round_half_up,
    to_number,
    to_text,
    trim,
    utf16_length,
)

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
_MAX_AMOUNT = 2**63 - 1
"""What the product's tables can hold."""
_TARGETS = ("appliesToItemId", "appliesToServiceId")


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
    """Read a body. Raises InvalidFields with all that is wrong, in the product's words."""
    errors = _Errors()
    client = errors.id(body.get("clientId"), "clientId")
    given = body.get("items")
    items: list[InvoiceItem] = []
    if not isinstance(given, list) or not given:
        errors.add("items", "Must include at least one item")
    else:
        items = [_item(each, f"items[{number}]", errors) for number, each in enumerate(given)]
    request = InvoiceRequest(
        clientId=client,
        items=tuple(items),
        invoiceDate=errors.date(body, "invoiceDate"),
        dueDate=errors.date(body, "dueDate"),
        poNumber=_text(body.get("poNumber")) or None,
    )
    if request.poNumber and utf16_length(request.poNumber) > _MAX_PO_NUMBER:
        errors.add("poNumber", "Too long")
    if errors.found:
        raise InvalidFields(errors.found)
    return request


class _Errors:
    """The first error of each field."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, field: str, message: str) -> None:
        self.found.setdefault(field, message)

    def id(self, given: object, field: str) -> str:
        value = _text(given)
        if not value:
            self.add(field, "Required")
        elif not _ID.fullmatch(value):
            self.add(field, "Invalid UUID")
        else:
            return value
        return ""

    def date(self, fields: Mapping[str, Any], name: str) -> str | None:
        value = _text(fields.get(name))
        if value and not _DATE.fullmatch(value):
            self.add(name, "Invalid date (expected YYYY-MM-DD)")
        return value or None


def _item(value: Any, field: str, errors: _Errors) -> InvoiceItem:
    if not isinstance(value, dict):
        errors.add(field, "Invalid item")
        return InvoiceItem("", 0, "", 0, False, None, None, None)
    service = errors.id(value.get("serviceId"), f"{field}.serviceId")
    description = _text(value.get("description"))
    if not description:
        errors.add(f"{field}.description", "Required")
    elif utf16_length(description) > _MAX_DESCRIPTION:
        errors.add(f"{field}.description", "Too long")
    quantity = to_number(value.get("quantity", math.nan))
    if not (math.isfinite(quantity) and quantity > 0):
        errors.add(f"{field}.quantity", "Must be > 0")
    rate = to_number(value.get("rate", math.nan))
    if not (math.isfinite(rate) and rate >= 0):
        errors.add(f"{field}.rate", "Must be >= 0")
    discount_type = _check_discount(value, rate, field, errors)
    targets = [
        errors.id(value[name], f"{field}.{name}") if name in value else None for name in _TARGETS
    ]
    if all(targets):
        errors.add(field, "Provide only one of appliesToItemId or appliesToServiceId")
    return InvoiceItem(
        serviceId=service,
        quantity=quantity,
        description=description,
        rate=rate,
        isDiscount=is_true(value.get("isDiscount")),
        discountType=discount_type,
        appliesToItemId=targets[0],
        appliesToServiceId=targets[1],
    )


def _check_discount(
    value: Mapping[str, Any], rate: float, field: str, errors: _Errors
) -> Literal["percentage", "fixed"] | None:
    named = _text(value.get("discountType"))
    kind: Literal["percentage", "fixed"] | None = None
    match named:
        case "percentage" | "fixed":
            kind = named
    if is_true(value.get("isDiscount")):
        if kind is None:
            errors.add(f"{field}.discountType", "Required when isDiscount=true")
        if kind == "percentage" and math.isfinite(rate) and not 0 <= rate <= _ALL_PERCENT:
            errors.add(f"{field}.rate", "Percentage discount rate must be between 0 and 100")
        return kind
    if named:
        errors.add(f"{field}.discountType", "Not allowed unless isDiscount=true")
    if any(name in value for name in _TARGETS):
        errors.add(field, "appliesTo* fields require isDiscount=true")
    return kind


def _text(value: object) -> str:
    """As text without blanks around it; nothing for null."""
    return "" if value is None else trim(to_text(value))


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
    tenant: str = ""

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
            return _UNSUPPORTED
        install = await installed(self._state.installs, call)
        if install is None:
            return ApiResponse(404, {"error": "Install not found"})
        if CAPABILITY not in install.providers:
            return ApiResponse(
                403, {"success": False, "error": f"Permission denied: {CAPABILITY} not granted"}
            )
        try:
            request = parse_invoice(call.body)
        except InvalidFields as error:
            return _failure("Validation error", error.errors)
        client = self._fixtures.client(request.clientId)
        if client is None:
            return _failure("Client not found", {"clientId": "Client not found"})
        lines = [it for it in request.items if not it.isDiscount]
        if not all(self._fixtures.service(it.serviceId) for it in lines):
            return _failure("Service not found", {"serviceId": "Service not found"})
        try:
            amount = subtotal(request.items)
        except UnknownTarget as error:
            return ApiResponse(400, {"success": False, "error": str(error)})
        except OverflowError:
            return ApiResponse(400, {"success": False, "error": "bigint out of range"})
        invoice = self._made(request, install, client.clientName, amount)
        call.subject = invoice.number
        return ApiResponse(201, {"success": True, "invoice": invoice.to_json()})

    def refusal(self, error: Refusal) -> ApiResponse:
        """See `Api`."""
        if not isinstance(error, ApiError):
            return _UNSUPPORTED
        return ApiResponse(error.status, {"error": error.message, "code": error.code})

    def listing(self) -> Route:
        """`GET /algaenv/invoices`: the last ones, newest first."""

        async def listed(request: Request) -> Response:  # noqa: ARG001
            tenant = self._state.tenant
            invoices = [it.to_listing() for it in reversed(self._invoices) if it.tenant == tenant]
            return to_http(ApiResponse(200, {"invoices": invoices}))

        return Route("/algaenv/invoices", listed)

    def forget(self, tenant: str) -> None:
        """Drop the invoices of a tenant."""
        self._invoices = [it for it in self._invoices if it.tenant != tenant]

    def _made(self, request: InvoiceRequest, install: Install, client: str, amount: int) -> Invoice:
        self._count += 1
        invoice = Invoice(
            id=str(uuid.uuid4()),
            number=f"INV-{self._count:06}",
            subtotal=amount,
            request=request,
            client_name=client,
            install=install.install_id,
            extension=install.registry_id,
            created_at=datetime.now(UTC),
            tenant=install.tenant,
        )
        self._invoices = [*self._invoices[1 - MAX_INVOICES :], invoice]
        event = {"type": "invoice-created", "extension": install.registry_id}
        self._state.events.publish(event | invoice.to_json() | {"clientName": client})
        return invoice


_UNSUPPORTED = ApiResponse(400, {"error": "Unsupported operation"})


class UnknownTarget(Exception):
    """A discount applies to a service that no line is of."""

    def __init__(self, service: str) -> None:
        super().__init__(f"Could not find invoice item for service: {service} to apply discount.")


def subtotal(items: Sequence[InvoiceItem]) -> int:
    """Lines less discounts, in minor units. Raises UnknownTarget, OverflowError.

    Discounts come after all lines, in their order: each is taken off what is left, or off the last
    line of a service. Rates are rounded before they are multiplied. Numbers are doubles as in the
    product, so that a product that falls short of a half is rounded down in both.
    """
    left = 0
    lines: dict[str, int] = {}
    for line in (it for it in items if not it.isDiscount):
        # Ids are compared as they are spelled.
        lines[line.serviceId] = round_half_up(line.quantity * float(round_half_up(line.rate)))
        left += lines[line.serviceId]
    for discount in (it for it in items if it.isDiscount):
        left -= _discount_amount(discount, lines, left)
    if max(map(abs, (left, *lines.values()))) > _MAX_AMOUNT:
        raise OverflowError(left)
    return left


def _discount_amount(discount: InvoiceItem, lines: Mapping[str, int], left: int) -> int:
    """How often the discount is there does not count."""
    service = discount.appliesToServiceId
    if service is not None and service not in lines:
        raise UnknownTarget(service)
    rate = round_half_up(discount.rate)
    if discount.discountType == "fixed":
        return rate
    # The items of an invoice get their ids when it is made, so that no id names one of them.
    of = 0 if discount.appliesToItemId else left if service is None else lines[service]
    return round_half_up(of * rate / _ALL_PERCENT)


def _failure(error: str, fields: object) -> ApiResponse:
    return ApiResponse(400, {"success": False, "error": error, "fieldErrors": fields})
