"""Clients and services for extensions: the same two operations on two kinds of things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from algaenv.bundle.ids import UUID_PATTERN
from algaenv.gateway.internal.door import Call, Said
from algaenv.gateway.internal.fixtures import Client, Fixtures, Service
from algaenv.gateway.internal.refusal import Invalid, Refused, shaped

if TYPE_CHECKING:
    from algaenv.gateway.house import House
    from algaenv.gateway.installs import Install

SEARCH = "clients-search"

Id = Annotated[str, Field(pattern=rf"^(?i:{UUID_PATTERN})$")]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Operation(_Shape):
    """What every body has."""

    operation: Literal["list", "get"]


class Asker(_Shape):
    """On whose behalf the handler runs."""

    userId: Annotated[str, Field(min_length=1)]
    userType: Annotated[str, Field(min_length=1)]


class _WithAsker(_Shape):
    user: Asker = Asker(userId="-", userType="-")


class Page(_Shape):
    """Which part of a list."""

    search: Annotated[str, Field(max_length=200)] = ""
    page: Annotated[int, Field(ge=1, le=10_000)] = 1
    pageSize: Annotated[int, Field(ge=1, le=100)] = 25


class ClientPage(Page):
    """Which clients."""

    includeInactive: StrictBool = False


class ServicePage(Page):
    """Which services; None where all are wanted, and never written so."""

    itemKind: Literal["service", "product", ""] = ""
    isActive: StrictBool | Literal[""] = ""
    billingMethod: Literal["fixed", "hourly", "usage", ""] = ""


class OneClient(_Shape):
    """Which client."""

    clientId: Id


class OneService(_Shape):
    """Which service."""

    serviceId: Id


class _Directory:
    """What both have in common: who may ask, and how refusals look."""

    def __init__(self, house: House, kind: Literal["client", "service"]) -> None:
        self._house = house
        self._capability = f"cap:{kind}.read"
        self._permission = f"{kind}:read"

    async def enter(self, call: Call) -> tuple[Install, bool]:
        """The install, and whether a list is asked for. Raises Refused, Invalid."""
        lists = shaped(Operation, call.body).operation == "list"
        install = await self._house.installs.get(call.install_id)
        if install is None:
            raise Refused("NOT_FOUND", "Install not found")
        call.extension = install.registry_id
        if self._capability not in install.providers:
            raise Refused("NOT_ALLOWED", f"{self._capability} is not granted")
        asker = shaped(_WithAsker, call.body)
        if "user" in asker.model_fields_set and not self._may(asker.user):
            raise Refused(
                "NOT_ALLOWED", f"The user does not have the permission {self._permission}"
            )
        return install, lists

    def _may(self, asker: Asker) -> bool:
        if self._permission in self._house.settings.checks_off:
            return True
        users = (it for it in self._house.users.all if it.id == asker.userId)
        return any(self._permission in it.permissions for it in users)

    def refusal(self, error: Refused | Invalid) -> Said:
        """See `door.Api`."""
        if isinstance(error, Invalid):
            content: dict[str, object] = {"error": "Invalid request payload"}
            return Said(400, content | {"code": "INVALID_INPUT", "details": error.details})
        return Said(error.status, {"error": error.message, "code": error.code}, error.headers)


class Clients(_Directory):
    """`ext-clients`."""

    name = "clients"

    def __init__(self, house: House, fixtures: Fixtures) -> None:
        super().__init__(house, "client")
        self._fixtures = fixtures

    async def answer(self, call: Call) -> Said:
        """See `door.Api`."""
        install, lists = await self.enter(call)
        if not lists:
            call.about = shaped(OneClient, _input(call)).clientId
            found = self._fixtures.client(call.about)
            return Said(200, {"item": found.model_dump() if found else None})
        asked = shaped(ClientPage, _input(call))
        search = asked.search.strip()
        if search and self._house.faults.reproduces(SEARCH):
            headers = self._house.faults.announce(SEARCH, extension=install.registry_id)
            return Said(500, {"error": "Internal error", "code": "INTERNAL_ERROR"}, headers)

        def fits(client: Client) -> bool:
            texts = (client.clientName, client.clientId, client.billingEmail)
            return (asked.includeInactive or not client.isInactive) and _found(search, texts)

        return _page(asked, self._fixtures.clients, fits)


class Services(_Directory):
    """`ext-services`."""

    name = "services"

    def __init__(self, house: House, fixtures: Fixtures) -> None:
        super().__init__(house, "service")
        self._fixtures = fixtures

    async def answer(self, call: Call) -> Said:
        """See `door.Api`."""
        _, lists = await self.enter(call)
        if not lists:
            call.about = shaped(OneService, _input(call)).serviceId
            found = self._fixtures.service(call.about)
            return Said(200, {"item": found.model_dump() if found else None})
        asked = shaped(ServicePage, _input(call))

        def fits(service: Service) -> bool:
            return (
                asked.itemKind in ("", service.itemKind)
                and asked.billingMethod in ("", service.billingMethod)
                and (asked.isActive == "" or asked.isActive is service.isActive)
                and _found(asked.search.strip(), (service.serviceName, service.sku))
            )

        return _page(asked, self._fixtures.services, fits)


def _input(call: Call) -> Any:
    found = call.body.get("input")
    return {} if found is None else found


def _found(search: str, texts: Sequence[str | None]) -> bool:
    wanted = search.casefold()
    return not wanted or any(wanted in text.casefold() for text in texts if text)


def _page(asked: Page, all_: Sequence[Any], fits: Callable[[Any], bool]) -> Said:
    chosen = [it for it in all_ if fits(it)]
    first = (asked.page - 1) * asked.pageSize
    content = {
        "items": [it.model_dump() for it in chosen[first : first + asked.pageSize]],
        "totalCount": len(chosen),
        "page": asked.page,
        "pageSize": asked.pageSize,
    }
    return Said(200, content)
