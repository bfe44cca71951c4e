"""`clients` and `services`: lists that handlers may page through, and single entries of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from algaenv.runner.execute.invocation import CAP_CLIENTS, CAP_SERVICES, Invocation
from algaenv.runner.host.internal_api import (
    Fields,
    HostCallError,
    InternalApi,
    MalformedResponse,
    as_number,
    as_object,
    bool_field,
    camel_case,
    count_field,
    enum_field,
    list_field,
    raw_field,
    required_text,
    text_field,
)
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.wit import Err

NAMES = {400: "invalid-input", 401: "not-allowed", 403: "not-allowed"}
PAGE_SIZE = 25
MAX_PAGE_SIZE = 100

_Record = dict[str, Any]


class Catalogue:
    """The list of one topic; `identity` is the field that names an entry (`client_id`)."""

    def __init__(
        self,
        topic: str,
        capability: str,
        identity: str,
        read: Callable[[Fields], _Record],
        *,
        host_settings: HostSettings,
        outbound: Outbound,
    ) -> None:
        self._capability = capability
        self._identity = camel_case(identity)
        self._read = read
        self._api = InternalApi(topic, NAMES, host_settings=host_settings, outbound=outbound)

    def list(self, invocation: Invocation, arguments: _Record) -> _Record | Err:
        """A page of all that match. One entry that cannot be read spoils it: `internal`."""
        if (denied := self._denied(invocation)) is not None:
            return denied
        parameters = {
            camel_case(name): value for name, value in arguments.items() if value is not None
        }
        parameters = {"page": 1, "pageSize": PAGE_SIZE} | parameters
        if parameters["page"] < 1 or not 1 <= parameters["pageSize"] <= MAX_PAGE_SIZE:
            return Err("invalid-input")
        try:
            reply = as_object(self._call(invocation, "list", parameters))
            return {
                "items": [self._read(as_object(item)) for item in list_field(reply, "items")],
                "total_count": count_field(reply, "total_count", default=0),
                "page": count_field(reply, "page", default=1),
                "page_size": count_field(reply, "page_size", default=PAGE_SIZE),
            }
        except HostCallError as error:
            return Err(error.name)
        except MalformedResponse:
            return Err("internal")

    def get(self, invocation: Invocation, identity: str) -> _Record | Err | None:
        """One entry, or None."""
        if (denied := self._denied(invocation)) is not None:
            return denied
        try:
            reply = as_object(self._call(invocation, "get", {self._identity: identity}))
            if "item" not in reply:
                return Err("internal")
            return None if reply["item"] is None else self._read(as_object(reply["item"]))
        except HostCallError as error:
            return Err(error.name)
        except MalformedResponse:
            return Err("internal")

    def _denied(self, invocation: Invocation) -> Err | None:
        allowed = self._capability in invocation.capabilities and invocation.install is not None
        return None if allowed else Err("not-allowed")

    def _call(self, invocation: Invocation, operation: str, parameters: Fields) -> object:
        fields: dict[str, object] = {"input": parameters}
        if (user := invocation.user) is not None:
            fields["user"] = {"userId": user.user_id, "userType": user.user_type}
        return self._api.call(invocation, operation, fields)


def client_catalogue(host_settings: HostSettings, outbound: Outbound) -> Catalogue:
    """The catalogue of client-summary."""
    return Catalogue(
        "clients",
        CAP_CLIENTS,
        "client_id",
        client_summary,
        host_settings=host_settings,
        outbound=outbound,
    )


def client_summary(fields: Fields) -> dict[str, Any]:
    """client-summary. Raises MalformedResponse without an id or a name."""
    return {
        "client_id": required_text(fields, "client_id"),
        "client_name": required_text(fields, "client_name"),
        "client_type": text_field(fields, "client_type"),
        "is_inactive": bool_field(fields, "is_inactive", default=False),
        "default_currency_code": text_field(fields, "default_currency_code"),
        "account_manager_id": text_field(fields, "account_manager_id"),
        "account_manager_name": text_field(fields, "account_manager_name"),
        "billing_email": text_field(fields, "billing_email"),
    }


KINDS = frozenset(("service", "product"))
METHODS = frozenset(("fixed", "hourly", "usage"))


def service_catalogue(host_settings: HostSettings, outbound: Outbound) -> Catalogue:
    """The catalogue of service-summary."""
    return Catalogue(
        "services",
        CAP_SERVICES,
        "service_id",
        service_summary,
        host_settings=host_settings,
        outbound=outbound,
    )


def service_summary(fields: Fields) -> dict[str, Any]:
    """service-summary. Raises MalformedResponse without id or name, or for an unknown kind."""
    return {
        "service_id": required_text(fields, "service_id"),
        "service_name": required_text(fields, "service_name"),
        "item_kind": enum_field(fields, "item_kind", KINDS),
        "billing_method": enum_field(fields, "billing_method", METHODS),
        "service_type_id": text_field(fields, "service_type_id"),
        "service_type_name": text_field(fields, "service_type_name"),
        "default_rate": as_number(raw_field(fields, "default_rate")) or 0.0,
        "unit_of_measure": text_field(fields, "unit_of_measure") or "",
        "is_active": bool_field(fields, "is_active", default=True),
        "sku": text_field(fields, "sku"),
    }
