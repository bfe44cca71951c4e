"""Resolves the section `gateway` to an intent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from urllib.parse import urlsplit

from algaenv.model.intent import AppServer, BundledGateway, GatewayUser, NoGateway
from algaenv.model.resource import Json
from algaenv.spec.diagnostics import Diagnostics
from algaenv.spec.document import Document
from algaenv.spec.gateway import (
    AppServerSpec,
    ClientSpec,
    GatewaySpec,
    ServiceSpec,
    UserSpec,
    quirk_names,
)
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.resolve.checks import parse_app_origin, port_of
from algaenv.spec.services import ManagedSpec

GatewayIntent = BundledGateway | AppServer | NoGateway
_PATH: NodePath = ("gateway",)


def bundled_gateway(document: Document) -> GatewaySpec | None:
    """The gateway that is to run; None when there is to be none."""
    match document.gateway:
        case GatewaySpec() as spec:
            return spec
        case None if isinstance(document.database, ManagedSpec):
            return GatewaySpec()
        case "bundled":
            return GatewaySpec()
        case _:
            return None


def resolve_gateway(
    document: Document, source_map: SourceMap, diagnostics: Diagnostics
) -> tuple[GatewayIntent, str | None]:
    """The gateway, and the origin of the app server; None for the latter after an error."""
    if isinstance(document.gateway, AppServerSpec):
        return AppServer(), _app_server_origin(document, document.gateway, source_map, diagnostics)
    app_url = parse_app_origin(document.app_url, source_map, diagnostics)
    spec = bundled_gateway(document)
    if spec is None:
        return NoGateway(), app_url
    _check_tenant_known(document, source_map, diagnostics)
    _check_unique(spec.users, "users", source_map, diagnostics)
    _check_unique(spec.clients, "clients", source_map, diagnostics)
    _check_unique(spec.services, "services", source_map, diagnostics)
    return _intent(document, spec), app_url


def _app_server_origin(
    document: Document, spec: AppServerSpec, source_map: SourceMap, diagnostics: Diagnostics
) -> str | None:
    """The app server's origin; two that differ are an error."""
    url = parse_app_origin(spec.url, source_map, diagnostics, (*_PATH, "url"))
    if source_map.node(("app_url",)) is None:
        return url
    app_url = parse_app_origin(document.app_url, source_map, diagnostics)
    if url and app_url and url != app_url:
        diagnostics.add_error(
            "spec-gateway-url",
            f"take both {url} as gateway.url and {app_url} as app_url: they are one server",
            "delete app_url, or write the same there",
            source_map.value((*_PATH, "url")),
        )
    return url


def _check_tenant_known(
    document: Document, source_map: SourceMap, diagnostics: Diagnostics
) -> None:
    """The gateway serves one tenant from its start, and a database of others is asked later."""
    if isinstance(document.database, ManagedSpec) or document.tenant.id is not None:
        return
    diagnostics.add_error(
        "spec-gateway-tenant",
        "run the gateway on an external database without the tenant's id",
        "write `tenant: {id: …}`",
        source_map.value(_PATH),
    )


def _check_unique(
    specs: Iterable[UserSpec | ClientSpec | ServiceSpec],
    key: str,
    source_map: SourceMap,
    diagnostics: Diagnostics,
) -> None:
    seen: set[tuple[str, str]] = set()
    for index, spec in enumerate(specs):
        for word, value in (("name", spec.name), ("id", spec.id or "")):
            if value and (word, value) in seen:
                diagnostics.add_error(
                    "spec-gateway-twice",
                    f"use the {word} {value} twice in gateway.{key}",
                    f"give one of them another {word}",
                    source_map.value((*_PATH, key, index, word)),
                )
            seen.add((word, value))


def fixed_quirks(spec: GatewaySpec) -> tuple[str, ...]:
    """The product's faults that this gateway does not have."""
    fixed = spec.faults
    if isinstance(fixed, str):
        fixed = [] if fixed == "reproduced" else list(quirk_names())
    return tuple(dict.fromkeys(fixed))


def _intent(document: Document, spec: GatewaySpec) -> BundledGateway:
    return BundledGateway(
        port=port_of(document, spec),
        users=tuple(_user(user, spec.clients) for user in spec.users),
        checks_off=tuple(dict.fromkeys(spec.checks_off)),
        rate_limit=spec.rate_limit,
        faults_fixed=fixed_quirks(spec),
        timeout_ms=spec.timeout_ms,
        clients=tuple(map(_client, spec.clients)),
        services=tuple(map(_service, spec.services)),
    )


def _user(spec: UserSpec, clients: Iterable[ClientSpec]) -> GatewayUser:
    client_id, client_name = _client_of(spec, clients)
    return GatewayUser(
        key=spec.name,
        type=spec.type,
        name=spec.display_name,
        id=spec.id,
        email=spec.email,
        client_id=client_id,
        client_name=client_name,
        permissions=None if spec.permissions is None else tuple(spec.permissions),
        additional_fields=dict(spec.additional_fields),
    )


def _client_of(spec: UserSpec, clients: Iterable[ClientSpec]) -> tuple[str | None, str | None]:
    """The id and the name of a user's client; who uses the client portal always has one."""
    wanted = spec.client
    if wanted is None:
        if spec.type == "internal":
            return None, None
        first = next(iter(clients), None)
        if first is None:
            return _derived_id("client", "default"), "Example Client"
        wanted = first.name
    for client in clients:
        known = client.id or _derived_id("client", client.name)
        if wanted in (client.name, known):
            return known, client.name
    try:
        return str(uuid.UUID(wanted)), wanted
    except ValueError:
        return _derived_id("client", wanted), wanted


def _derived_id(kind: str, name: str) -> str:
    """An id for what has only a name, the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"algaenv/gateway/{kind}/{name}"))


def _client(spec: ClientSpec) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "clientId": spec.id or _derived_id("client", spec.name),
        "clientName": spec.name,
        "clientType": spec.type,
        "isInactive": spec.inactive,
        "defaultCurrencyCode": spec.default_currency_code,
        "accountManagerId": spec.account_manager_id,
        "accountManagerName": spec.account_manager_name,
        "billingEmail": spec.billing_email,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _service(spec: ServiceSpec) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "serviceId": spec.id or _derived_id("service", spec.name),
        "serviceName": spec.name,
        "itemKind": spec.kind,
        "billingMethod": spec.billing_method,
        "serviceTypeId": spec.type_id,
        "serviceTypeName": spec.type_name,
        "defaultRate": spec.default_rate,
        "unitOfMeasure": spec.unit_of_measure,
        "isActive": spec.active,
        "sku": spec.sku,
    }
    return {name: value for name, value in fields.items() if value is not None}


def parse_dev_server(
    url: str | None, path: NodePath, source_map: SourceMap, diagnostics: Diagnostics
) -> str | None:
    """The origin of a development server on this machine; None for none, or after an error."""
    if url is None:
        return None
    found = parse_app_origin(url, source_map, diagnostics, path)
    if found is not None and urlsplit(found).hostname not in ("localhost", "127.0.0.1", "::1"):
        diagnostics.add_error(
            "spec-url",
            f"use {found} as {'.'.join(map(str, path))}: it is not on this machine",
            "write http://localhost:5173 or the like",
            source_map.value(path),
        )
        return None
    return found
