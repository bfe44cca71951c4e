"""A script that calls all 25 functions, and what a host replies to it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from wasmtime.component import Variant

from .host import record

BYTES = base64.b64encode(b"\x00\xffbytes").decode()
USER = {
    name: f"the {name}"
    for name in ("tenant_id", "client_name", "user_id", "user_email", "user_name", "user_type")
}
ENTRY = {"namespace": "n", "key": "k", "value": BYTES, "revision": 2**53 - 1}
SCHEDULE = {
    "id": "s1",
    "endpoint_path": "/run",
    "endpoint_method": "POST",
    "name": None,
    "cron": "* * * * *",
    "timezone": "UTC",
    "enabled": True,
    "payload": "[1]",
    "last_run_at": None,
    "last_run_status": "ok",
    "last_error": None,
    "created_at": None,
}
CLIENT = {
    "client_id": "c1",
    "client_name": "Ärger & Söhne",
    "client_type": None,
    "is_inactive": False,
    "default_currency_code": "EUR",
    "account_manager_id": None,
    "account_manager_name": None,
    "billing_email": None,
}
SERVICE = {
    "service_id": "v1",
    "service_name": "Hours",
    "item_kind": "product",
    "billing_method": "usage",
    "service_type_id": None,
    "service_type_name": None,
    "default_rate": 1.5,
    "unit_of_measure": "h",
    "is_active": True,
    "sku": None,
}
CREATED = {"success": False, "schedule_id": None, "error": "no", "field_errors": "{}"}
INVOICE = {
    "success": True,
    "invoice_id": "i1",
    "invoice_number": None,
    "status": "draft",
    "subtotal": 10.5,
    "tax": None,
    "total": -0.25,
    "error": None,
    "field_errors": None,
}
FETCHED = {"status": 299, "headers": [["a", "b"], ["a", "c"]], "body": ""}
PAGE = {"total_count": 2**32 - 1, "page": 1, "page_size": 25}
CONTEXT = {
    "request_id": None,
    "tenant_id": "t",
    "extension_id": "e",
    "install_id": "i",
    "version_id": None,
}

# function, arguments, reply (as the answer tells it, or a Variant of the error's name)
CASES: tuple[tuple[str, list[Any], Any], ...] = (
    ("context.get-context", [], CONTEXT),
    ("secrets.get", ["key"], "a secret"),
    ("secrets.get", ["other"], Variant("err", "denied")),
    ("secrets.list-keys", [], ["key", "other"]),
    (
        "http.fetch",
        [{"method": "PUT", "url": "http://x/", "headers": [["a", "b"]], "body": BYTES}],
        FETCHED,
    ),
    ("storage.get", ["n", "k"], ENTRY),
    ("storage.put", [ENTRY], ENTRY | {"revision": None}),
    ("storage.delete", ["n", "k"], None),
    ("storage.list-entries", ["n", None], [ENTRY, ENTRY]),
    ("logging.log-info", ["one"], None),
    ("logging.log-warn", [{"repeat": "ab", "times": 3}], None),
    ("logging.log-error", [{"b64": base64.b64encode("ü".encode()).decode()}], None),
    ("ui-proxy.call-route", ["/r?a=b", BYTES], {"bytes": BYTES}),
    ("user.get-user", [], USER),
    (
        "user-v2.get-user",
        [],
        USER | {"client_id": None, "additional_fields": [["a", "b"], ["c", "d"]]},
    ),
    ("scheduler.list-schedules", [], [SCHEDULE]),
    ("scheduler.get-schedule", ["s1"], SCHEDULE),
    ("scheduler.create-schedule", [{"endpoint": "/run", "cron": "@daily"}], CREATED),
    (
        "scheduler.update-schedule",
        ["s1", {"enabled": False, "name": "n"}],
        {"success": True, "error": None, "field_errors": None},
    ),
    ("scheduler.delete-schedule", ["s1"], {"success": True, "error": None}),
    (
        "scheduler.get-endpoints",
        [],
        [{"id": "1", "method": "GET", "path": "/", "handler": "h", "schedulable": False}],
    ),
    (
        "invoicing.create-manual-invoice",
        [
            {
                "client_id": "c1",
                "items": [
                    {
                        "service_id": "v1",
                        "quantity": 2,
                        "description": "d",
                        "rate": "inf",
                        "discount_type": "fixed",
                    }
                ],
            }
        ],
        INVOICE,
    ),
    ("clients.list-clients", [{"search": "a", "page_size": 3}], {"items": [CLIENT]} | PAGE),
    ("clients.get-client", ["c1"], CLIENT),
    ("services.list-services", [{"item_kind": "product"}], {"items": [SERVICE]} | PAGE),
    ("services.get-service", ["v1"], None),
)


def reply(name: str, heard: list[tuple[str, list[Any]]]) -> Callable[..., Any]:
    """A host function that replies the cases of this name in turn, and notes what it was given."""
    left = [value for function, _, value in CASES if function == name]

    def answer(store: object, *args: Any) -> Any:
        heard.append((name, [_seen(arg) for arg in args]))
        value = left.pop(0)
        if isinstance(value, Variant):
            return value
        if name == "secrets.get":
            return Variant("ok", value)
        return _given(value)

    return answer


def _given(value: Any) -> Any:
    """As the engine's Python layer wants it."""
    match value:
        case {"bytes": text}:
            return base64.b64decode(text)
        case dict():
            fields = {name: _field(name, field) for name, field in value.items()}
            return record(**fields)
        case list():
            return [_given(item) for item in value]
        case _:
            return value


def _field(name: str, value: Any) -> Any:
    match name, value:
        case (("value" | "body"), str()):
            return base64.b64decode(value)
        case "headers", list():
            return [record(name=header, value=text) for header, text in value]
        case "additional_fields", list():
            return [tuple(pair) for pair in value]
        case _:
            return _given(value)


def _seen(value: Any) -> Any:
    """A record as a dict, to be compared."""
    if isinstance(value, list):
        return [_seen(item) for item in value]
    if hasattr(value, "__dict__"):
        return {name: _seen(field) for name, field in vars(value).items()}
    return value
