"""The twelve interfaces of the world and their twenty-five functions.

Those that only read the invocation are here too: `context`, `logging`, `secrets`, `user`,
`user-v2`. Every other interface has a module of its own.
"""

from __future__ import annotations

from algaenv.runner.execute.invocation import (
    CAP_LOG,
    CAP_SECRETS,
    CAP_USER,
    NOT_GRANTED,
    HostFunctions,
    Invocation,
    Level,
)
from algaenv.runner.host.catalogue import client_catalogue, service_catalogue
from algaenv.runner.host.fetch import HttpFetch
from algaenv.runner.host.invoicing import Invoicing
from algaenv.runner.host.scheduler import Scheduler
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.host.storage import Storage
from algaenv.runner.host.ui_proxy import UiProxy
from algaenv.runner.outbound import Outbound
from algaenv.runner.wasm.wit import Err


def get_context(invocation: Invocation) -> dict[str, str | None]:
    """context-data. Every handler has the capability, and the request says the same anyway."""
    return {
        "request_id": invocation.request_id,
        "tenant_id": invocation.tenant,
        "extension_id": invocation.extension,
        "install_id": invocation.install,
        "version_id": invocation.version,
    }


def log_info(invocation: Invocation, message: str) -> None:
    """Pass on, or drop when not granted."""
    _log(invocation, "info", message)


def log_warn(invocation: Invocation, message: str) -> None:
    """Pass on, or drop when not granted."""
    _log(invocation, "warn", message)


def log_error(invocation: Invocation, message: str) -> None:
    """Pass on, or drop when not granted."""
    _log(invocation, "error", message)


def _log(invocation: Invocation, level: Level, message: str) -> None:
    if CAP_LOG in invocation.capabilities:
        invocation.log("log", level, message)


def get_secret(invocation: Invocation, key: str) -> str | Err:
    """The secret, or `denied`, or `missing`; the other two errors never occur."""
    if CAP_SECRETS not in invocation.capabilities:
        invocation.reason = NOT_GRANTED.format(CAP_SECRETS)
        return Err("denied")
    value = (invocation.secrets or {}).get(key)
    if value is None:
        invocation.reason = f"the install has no secret {key[:100]!r}"
        return Err("missing")
    return value


def list_secret_keys(invocation: Invocation) -> list[str]:
    """The names of all; none when not granted."""
    if CAP_SECRETS not in invocation.capabilities:
        return []
    return list(invocation.secrets or ())


_Record = dict[str, object]


def get_user(invocation: Invocation) -> _Record | Err:
    """user-data, or `not-allowed`, or `not-available`."""
    if CAP_USER not in invocation.capabilities:
        return Err("not-allowed")
    user = invocation.user
    if user is None:
        return Err("not-available")
    return {
        "tenant_id": invocation.tenant,
        "client_name": user.client_name,
        "user_id": user.user_id,
        "user_email": user.user_email,
        "user_name": user.user_name,
        "user_type": user.user_type,
    }


def get_user_v2(invocation: Invocation) -> _Record | Err:
    """user-data-v2: with the client's id, and further fields in the order of their names."""
    known = get_user(invocation)
    user = invocation.user
    if isinstance(known, Err) or user is None:
        return known
    known["client_id"] = user.client_id
    known["additional_fields"] = sorted(user.additional_fields.items())
    return known


def host_functions(host_settings: HostSettings, outbound: Outbound) -> HostFunctions:
    """What guests can import; opens no connection and imports no client library."""
    storage = Storage(host_settings, outbound)
    scheduler = Scheduler(host_settings, outbound)
    client_list, service_list = (
        client_catalogue(host_settings, outbound),
        service_catalogue(host_settings, outbound),
    )
    return {
        "context": {"get-context": get_context},
        "secrets": {"get": get_secret, "list-keys": list_secret_keys},
        "http": {"fetch": HttpFetch(host_settings, outbound).fetch},
        "storage": {
            "get": storage.get,
            "put": storage.put,
            "delete": storage.delete,
            "list-entries": storage.list_entries,
        },
        "logging": {
            "log-info": log_info,
            "log-warn": log_warn,
            "log-error": log_error,
        },
        "ui-proxy": {"call-route": UiProxy(host_settings, outbound).call_route},
        "user": {"get-user": get_user},
        "user-v2": {"get-user": get_user_v2},
        "scheduler": {
            "list-schedules": scheduler.list_schedules,
            "get-schedule": scheduler.get_schedule,
            "create-schedule": scheduler.create_schedule,
            "update-schedule": scheduler.update_schedule,
            "delete-schedule": scheduler.delete_schedule,
            "get-endpoints": scheduler.get_endpoints,
        },
        "invoicing": {
            "create-manual-invoice": Invoicing(host_settings, outbound).create_manual_invoice,
        },
        "clients": {"list-clients": client_list.list, "get-client": client_list.get},
        "services": {"list-services": service_list.list, "get-service": service_list.get},
    }
