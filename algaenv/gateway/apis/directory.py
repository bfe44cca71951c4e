"""Clients and services: the settings' data, and two APIs with the operations `list` and `get`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from algaenv.bundle.layout import UUID_PATTERN
from algaenv.gateway.apis.api_endpoint import (
    ApiCall,
    ApiError,
    ApiResponse,
    InvalidBody,
    InvalidJson,
    Refusal,
    installed,
    internal_error,
    length,
    parse_body,
    whole,
)
from algaenv.gateway.javascript import trim
from algaenv.gateway.settings import SettingsError
from algaenv.gateway.users import default_users

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install
    from algaenv.gateway.settings import Settings
    from algaenv.gateway.state import AppState


CanonicalId = Annotated[str, Field(pattern=rf"^{UUID_PATTERN}$")]


M = TypeVar("M", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Client(_Record):
    """A client of the MSP, spelled as extensions see it."""

    clientId: CanonicalId
    clientName: str
    clientType: Literal["company", "individual"] | None = "company"
    isInactive: bool = False
    defaultCurrencyCode: str | None = "USD"
    accountManagerId: str | None = None
    accountManagerName: str | None = None
    billingEmail: str | None = None


class Service(_Record):
    """Something the MSP sells, spelled as extensions see it. The rate is in minor units."""

    serviceId: CanonicalId
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
class Directory:
    """All of them, by name as the product sorts."""

    clients: tuple[Client, ...]
    services: tuple[Service, ...]

    def client(self, id_: str) -> Client | None:
        """The client of this id."""
        return next((it for it in self.clients if it.clientId == id_.lower()), None)

    def service(self, id_: str) -> Service | None:
        """The service of this id."""
        return next((it for it in self.services if it.serviceId == id_.lower()), None)


def load_directory(settings: Settings) -> Directory:
    """Those of the settings; where there are none, a few. Raises SettingsError with all faults."""
    errors: list[str] = []
    clients = _validated("clients", Client, settings.clients or _default_clients(), errors)
    services = _validated("services", Service, settings.services or _default_services(), errors)
    errors += _repeated("clients", [it.clientId for it in clients])
    errors += _repeated("services", [it.serviceId for it in services])
    if errors:
        raise SettingsError("; ".join(errors))
    return Directory(
        tuple(sorted(clients, key=lambda it: it.clientName)),
        tuple(sorted(services, key=lambda it: it.serviceName)),
    )


def _validated(
    name: str, model: type[M], given: Sequence[Mapping[str, Any]], errors: list[str]
) -> list[M]:
    found: list[M] = []
    for number, fields in enumerate(given):
        try:
            found.append(model.model_validate(fields))
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                place = ".".join(map(str, detail["loc"]))
                errors.append(f"{name}[{number}].{place}: {detail['msg']}")
    return found


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


SEARCH_QUIRK = "clients-search"

Id = Annotated[str, Field(pattern=rf"^(?i:{UUID_PATTERN})$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class DirectoryOperation(_Body):
    """What every body has."""

    operation: Literal["list", "get"]


class ActingUser(_Body):
    """On whose behalf the handler runs."""

    userId: Annotated[str, Field(min_length=1)]
    userType: Annotated[str, Field(min_length=1)]


class PageRequest(_Body):
    """Which part of a list."""

    search: Annotated[str, Field(max_length=200), length(0, 200)] = ""
    page: Annotated[int, Field(ge=1, le=10_000), whole(ge=1, le=10_000)] = 1
    pageSize: Annotated[int, Field(ge=1, le=100), whole(ge=1, le=100)] = 25


class ClientPageRequest(PageRequest):
    """Which clients."""

    includeInactive: StrictBool = False


class ServicePageRequest(PageRequest):
    """Which services; `model_fields_set` knows what they have to be."""

    itemKind: Literal["service", "product"] = "service"
    isActive: StrictBool = True
    billingMethod: Literal["fixed", "hourly", "usage"] = "fixed"


class ClientRequest(_Body):
    """Which client."""

    clientId: Id


class ServiceRequest(_Body):
    """Which service."""

    serviceId: Id


class _DirectoryApi:
    """What both have in common: who may ask, and how refusals look."""

    def __init__(self, state: AppState, kind: Literal["client", "service"]) -> None:
        self._state = state
        self._capability = f"cap:{kind}.read"
        self._permission = f"{kind}:read"

    async def enter(self, call: ApiCall) -> tuple[Install, bool]:
        """The install, and whether a list is asked for. Raises ApiError, InvalidBody."""
        lists = parse_body(DirectoryOperation, call.body).operation == "list"
        install = await installed(self._state.installs, call)
        if install is None:
            raise ApiError("NOT_FOUND", "Install not found")
        if self._capability not in install.providers:
            raise _not_granted(self._capability)
        if "user" in call.body:
            acting = parse_body(ActingUser, call.body["user"])
            if not self._has_permission(acting):
                raise _not_granted(self._permission)
        return install, lists

    def _has_permission(self, acting: ActingUser) -> bool:
        if self._permission in self._state.settings.checks_off:
            return True
        users = (it for it in self._state.users.all if it.id == acting.userId)
        return any(self._permission in it.permissions for it in users)

    def refusal(self, error: Refusal) -> ApiResponse:
        """See `Api`."""
        if isinstance(error, InvalidJson):
            error = InvalidBody({"formErrors": ["Required"], "fieldErrors": {}})
        if isinstance(error, InvalidBody):
            content: dict[str, object] = {"error": "Invalid request payload"}
            return ApiResponse(400, content | {"code": "INVALID_INPUT", "details": error.details})
        return ApiResponse(
            error.status, {"error": error.message, "code": error.code}, error.headers
        )


class ClientsApi(_DirectoryApi):
    """`ext-clients`."""

    name = "clients"

    def __init__(self, state: AppState, fixtures: Directory) -> None:
        super().__init__(state, "client")
        self._fixtures = fixtures

    async def handle(self, call: ApiCall) -> ApiResponse:
        """See `Api`."""
        install, lists = await self.enter(call)
        if not lists:
            call.subject = parse_body(ClientRequest, _input(call)).clientId
            found = self._fixtures.client(call.subject)
            return ApiResponse(200, {"item": found.model_dump() if found else None})
        request = parse_body(ClientPageRequest, _input(call))
        search = trim(request.search)
        if search and self._state.quirks.reproduces(SEARCH_QUIRK):
            headers = self._state.quirks.announce(SEARCH_QUIRK, extension=install.registry_id)
            return internal_error(headers)

        def fits(client: Client) -> bool:
            texts = (client.clientName, client.clientId, client.billingEmail)
            return (request.includeInactive or not client.isInactive) and contains(search, texts)

        return _page(request, self._fixtures.clients, fits)


class ServicesApi(_DirectoryApi):
    """`ext-services`."""

    name = "services"

    def __init__(self, state: AppState, fixtures: Directory) -> None:
        super().__init__(state, "service")
        self._fixtures = fixtures

    async def handle(self, call: ApiCall) -> ApiResponse:
        """See `Api`."""
        _, lists = await self.enter(call)
        if not lists:
            call.subject = parse_body(ServiceRequest, _input(call)).serviceId
            found = self._fixtures.service(call.subject)
            return ApiResponse(200, {"item": found.model_dump() if found else None})
        request = parse_body(ServicePageRequest, _input(call))

        chosen = request.model_dump(exclude_unset=True, exclude={*PageRequest.model_fields})

        def fits(service: Service) -> bool:
            return all(getattr(service, name) == value for name, value in chosen.items()) and (
                contains(trim(request.search), (service.serviceName, service.sku))
            )

        return _page(request, self._fixtures.services, fits)


def _input(call: ApiCall) -> Any:
    found = call.body.get("input")
    return {} if found is None else found


def contains(search: str, texts: Sequence[str | None]) -> bool:
    """Whether `ILIKE` finds the text in one of them: `%` and `_` in it stand for others."""
    if not search:
        return True
    parts = [""]
    for part in _LIKE.findall(f"%{search}%"):
        if part == "%":
            parts.append("")
        else:
            parts[-1] += "." if part == "_" else re.escape(part[-1])
    # The first place where a part fits is as good as any later one: nothing is tried twice.
    *inner, last = parts[1:]
    pattern = "".join(f"(?>.*?{it})" for it in inner) + f".*{last}"
    found = re.compile(pattern, re.IGNORECASE | re.DOTALL).fullmatch
    return any(found(text) for text in texts if text)


_LIKE = re.compile(r"\\.|.", re.DOTALL)


def _not_granted(name: str) -> ApiError:
    return ApiError("NOT_ALLOWED", f"Permission denied: {name} not granted")


def _page(request: PageRequest, all_: Sequence[Any], fits: Callable[[Any], bool]) -> ApiResponse:
    chosen = [it for it in all_ if fits(it)]
    first = (request.page - 1) * request.pageSize
    content = {
        "items": [it.model_dump() for it in chosen[first : first + request.pageSize]],
        "totalCount": len(chosen),
        "page": request.page,
        "pageSize": request.pageSize,
    }
    return ApiResponse(200, content)
