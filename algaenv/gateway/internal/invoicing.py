"""Manual invoices: added up, kept in memory and listed, since nobody is billed here."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from algaenv.gateway.internal import invoice_fields
from algaenv.gateway.internal.door import Call, Said, answer
from algaenv.gateway.internal.fixtures import Fixtures
from algaenv.gateway.internal.invoice_fields import Asked, BadFields, Item
from algaenv.gateway.internal.moments import spelled
from algaenv.gateway.internal.refusal import Invalid, Refused

if TYPE_CHECKING:
    from algaenv.gateway.house import House
    from algaenv.gateway.installs import Install

CAPABILITY = "cap:invoice.manual.create"
MOST_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Invoice:
    """A draft. Amounts are in minor units."""

    id: str
    number: str
    subtotal: int
    asked: Asked
    client_name: str
    install: str
    extension: str
    created_at: datetime

    def answered(self) -> dict[str, Any]:
        """As extensions see it. Nothing is taxed."""
        return {
            "invoiceId": self.id,
            "invoiceNumber": self.number,
            "status": "draft",
            "subtotal": self.subtotal,
            "tax": 0,
            "total": self.subtotal,
        }

    def listed(self) -> dict[str, Any]:
        """As the page of invoices shows it."""
        return {
            **self.answered(),
            **asdict(self.asked),
            "clientName": self.client_name,
            "installId": self.install,
            "extensionId": self.extension,
            "createdAt": spelled(self.created_at),
        }


class Invoicing:
    """`ext-invoicing`."""

    name = "invoicing"

    def __init__(self, house: House, fixtures: Fixtures) -> None:
        self._house = house
        self._fixtures = fixtures
        self._invoices: list[Invoice] = []
        self._count = 0

    async def answer(self, call: Call) -> Said:
        """See `door.Api`."""
        if call.operation != "createManualInvoice":
            return Said(400, {"error": "Unsupported operation"})
        install = await self._house.installs.get(call.install_id)
        if install is None:
            return Said(404, {"error": "Install not found"})
        call.extension = install.registry_id
        if CAPABILITY not in install.providers:
            return Said(403, {"success": False, "error": f"{CAPABILITY} is not granted"})
        try:
            asked = invoice_fields.read(call.body)
        except BadFields as error:
            return _not_done("Validation error", error.errors)
        client = self._fixtures.client(asked.clientId)
        if client is None:
            return _not_done("Client not found", {"clientId": "Client not found"})
        if not all(self._fixtures.service(it.serviceId) for it in asked.items):
            return _not_done("Service not found", {"serviceId": "Service not found"})
        invoice = self._made(asked, install, client.clientName)
        call.about = invoice.number
        return Said(201, {"success": True, "invoice": invoice.answered()})

    def refusal(self, error: Refused | Invalid) -> Said:
        """See `door.Api`."""
        assert isinstance(error, Refused)  # noqa: S101 - shapes are not asked for here
        return Said(error.status, {"error": error.message, "code": error.code})

    def listing(self) -> Route:
        """`GET /algaenv/invoices`: the last ones, newest first."""

        async def listed(request: Request) -> Response:  # noqa: ARG001
            invoices = [it.listed() for it in reversed(self._invoices)]
            return answer(Said(200, {"invoices": invoices}))

        return Route("/algaenv/invoices", listed)

    def _made(self, asked: Asked, install: Install, client: str) -> Invoice:
        self._count += 1
        invoice = Invoice(
            id=str(uuid.uuid4()),
            number=f"INV-{self._count:06}",
            subtotal=subtotal(asked.items),
            asked=asked,
            client_name=client,
            install=install.install_id,
            extension=install.registry_id,
            created_at=datetime.now(UTC),
        )
        self._invoices = [*self._invoices[1 - MOST_KEPT :], invoice]
        event = {"type": "invoice-created", "extension": install.registry_id}
        self._house.feed.say(event | invoice.answered() | {"clientName": client})
        return invoice


def subtotal(items: Sequence[Item]) -> int:
    """Lines less discounts. A discount in percent is taken off what it applies to, else off all.

    Rates are rounded before they are multiplied, as the product does it.
    """
    lines = [(it, round(it.quantity * _rate(it))) for it in items if not it.isDiscount]
    return sum(amount for _, amount in lines) - sum(
        _discount(it, lines) for it in items if it.isDiscount
    )


def _discount(discount: Item, lines: Sequence[tuple[Item, int]]) -> int:
    if discount.discountType == "fixed":
        return round(discount.quantity * _rate(discount))
    service = discount.appliesToServiceId
    of = sum(amount for it, amount in lines if service in {None, it.serviceId})
    return round(of * _rate(discount) / 100)


def _rate(item: Item) -> int:
    """Halves go up, as JavaScript rounds."""
    return int(item.rate + 0.5)


def _not_done(error: str, fields: object) -> Said:
    return Said(400, {"success": False, "error": error, "fieldErrors": fields})
