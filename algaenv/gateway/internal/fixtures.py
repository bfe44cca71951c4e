"""The clients and services of the tenant, which the settings make up: nobody bills here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from algaenv.bundle.ids import UUID_PATTERN
from algaenv.gateway.settings import BadSettings
from algaenv.gateway.users import default_users

if TYPE_CHECKING:
    from algaenv.gateway.settings import Settings

Id = Annotated[str, Field(pattern=rf"^{UUID_PATTERN}$")]


M = TypeVar("M", bound=BaseModel)


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Client(_Shape):
    """A client of the MSP, spelled as extensions see it."""

    clientId: Id
    clientName: str
    clientType: Literal["company", "individual"] | None = "company"
    isInactive: bool = False
    defaultCurrencyCode: str | None = "USD"
    accountManagerId: str | None = None
    accountManagerName: str | None = None
    billingEmail: str | None = None


class Service(_Shape):
    """Something the MSP sells, spelled as extensions see it. The rate is in minor units."""

    serviceId: Id
    serviceName: str
    itemKind: Literal["service", "product"] = "service"
    billingMethod: Literal["fixed", "hourly", "usage"] = "fixed"
    serviceTypeId: str | None = None
    serviceTypeName: str | None = None
    defaultRate: float = 0
    unitOfMeasure: str = "unit"
    isActive: bool = True
    sku: str | None = None


@dataclass(frozen=True, slots=True)
class Fixtures:
    """All of them, by name as the product sorts."""

    clients: tuple[Client, ...]
    services: tuple[Service, ...]

    def client(self, id_: str) -> Client | None:
        """The client of this id."""
        return next((it for it in self.clients if it.clientId == id_.lower()), None)

    def service(self, id_: str) -> Service | None:
        """The service of this id."""
        return next((it for it in self.services if it.serviceId == id_.lower()), None)


def read(settings: Settings) -> Fixtures:
    """Those of the settings; where there are none, a few. Raises BadSettings with all faults."""
    wrong: list[str] = []
    clients = _all("clients", Client, settings.clients or _default_clients(), wrong)
    services = _all("services", Service, settings.services or _default_services(), wrong)
    wrong += _repeated("clients", [it.clientId for it in clients])
    wrong += _repeated("services", [it.serviceId for it in services])
    if wrong:
        raise BadSettings("; ".join(wrong))
    return Fixtures(
        tuple(sorted(clients, key=lambda it: it.clientName)),
        tuple(sorted(services, key=lambda it: it.serviceName)),
    )


def _all(
    name: str, model: type[M], given: Sequence[Mapping[str, Any]], wrong: list[str]
) -> list[M]:
    read: list[M] = []
    for number, fields in enumerate(given):
        try:
            read.append(model.model_validate(fields))
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                place = ".".join(map(str, fault["loc"]))
                wrong.append(f"{name}[{number}].{place}: {fault['msg']}")
    return read


def _default_clients() -> list[dict[str, Any]]:
    """The client that the default user of the client portal belongs to, and one that left."""
    known = [
        {"clientId": it.client_id, "clientName": it.client_name, "billingEmail": it.email}
        for it in default_users()
        if it.client_id
    ]
    gone = {"clientId": _made("client/gone"), "clientName": "Former Client", "isInactive": True}
    return [*known, gone]


def _default_services() -> list[dict[str, Any]]:
    return [
        {
            "serviceId": _made("service/support"),
            "serviceName": "Support",
            "billingMethod": "hourly",
            "defaultRate": 12_000,
            "unitOfMeasure": "hour",
        },
        {
            "serviceId": _made("service/license"),
            "serviceName": "License",
            "itemKind": "product",
            "billingMethod": "usage",
            "defaultRate": 2_500,
            "sku": "LIC-1",
        },
    ]


def _made(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"algaenv/gateway/{name}"))


def _repeated(name: str, ids: Sequence[str]) -> list[str]:
    again = sorted({it for it in ids if ids.count(it) > 1})
    return [f"{name}: {it} is there more than once" for it in again]
