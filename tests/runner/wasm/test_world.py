"""Every function of the world, in every arm, through a guest of a real tool chain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from algaenv.runner.wasm import wit
from algaenv.runner.wasm.wit import Enum, Err, OptionOf, ResultOf
from tests.guests import ToolMissing, built

from .stage import MEMORY, WHO, ComponentCompiler, invocation, request, table

ENTRY = {"namespace": "n", "key": "k", "value": b"\0\xff", "revision": 2**53 - 1}
ENTRY_JSON = {"namespace": "n", "key": "k", "value": "AP8=", "revision": 2**53 - 1}
RESPONSE = {"status": 201, "headers": [{"name": "a", "value": "ü"}], "body": b"\1"}
RESPONSE_JSON = {"status": 201, "headers": [["a", "ü"]], "body": "AQ=="}
USER = {
    name: name
    for name in ("tenant_id", "client_name", "user_id", "user_email", "user_name", "user_type")
}
SCHEDULE = {
    "id": "s", "endpoint_path": "/p", "endpoint_method": "GET", "name": None, "cron": "* * * * *",
    "timezone": "UTC", "enabled": True, "payload": "{}", "last_run_at": None,
    "last_run_status": "ok", "last_error": None, "created_at": "now",
}  # fmt: skip
ENDPOINT = {"id": "e", "method": "GET", "path": "/p", "handler": "h", "schedulable": False}
CLIENT = {
    "client_id": "c", "client_name": "C", "client_type": None, "is_inactive": False,
    "default_currency_code": "EUR", "account_manager_id": None, "account_manager_name": None,
    "billing_email": "x@example.com",
}  # fmt: skip
SERVICE = {
    "service_id": "s", "service_name": "S", "item_kind": "product", "billing_method": "usage",
    "service_type_id": None, "service_type_name": "T", "default_rate": 12.5,
    "unit_of_measure": "h", "is_active": True, "sku": None,
}  # fmt: skip
CREATE = {"endpoint": "e", "cron": "c", "timezone": None, "enabled": True, "name": "n",
          "payload": None}  # fmt: skip
UPDATE = {"endpoint": None, "cron": "c", "timezone": None, "enabled": False, "name": None,
          "payload": "{}"}  # fmt: skip
INVOICE = {
    "client_id": "c", "invoice_date": "2026-01-01", "due_date": None, "po_number": None,
    "items": [{"service_id": "s", "quantity": 1.5, "description": "d", "rate": 100.0,
               "is_discount": True, "discount_type": "fixed", "applies_to_item_id": None,
               "applies_to_service_id": "x"}],
}  # fmt: skip
INVOICED = {
    "success": True, "invoice_id": "i", "invoice_number": None, "status": "draft",
    "subtotal": 150.0, "tax": 0.5, "total": 150.5, "error": None, "field_errors": None,
}  # fmt: skip
CLIENTS = {"items": [CLIENT], "total_count": 2**32 - 1, "page": 1, "page_size": 0}
SERVICES = {"items": [SERVICE], "total_count": 1, "page": 1, "page_size": 25}
LIST_CLIENTS = {"search": "x", "include_inactive": None, "page": 3, "page_size": None}
LIST_SERVICES = {"search": None, "item_kind": "service", "is_active": True,
                 "billing_method": "hourly", "page": None, "page_size": 2**31 - 1}  # fmt: skip
FETCH = {"method": "PUT", "url": "https://e/", "headers": [{"name": "a", "value": "b"}],
         "body": b"hi"}  # fmt: skip
FETCH_JSON = FETCH | {"headers": [["a", "b"]], "body": "aGk="}

Case = tuple[str, list[Any], tuple[Any, ...], Any, Any]

CASES: list[Case] = [
    # name, arguments in JSON, what the host sees, what it returns, what the guest sees
    ("context.get-context", [], (), WHO, WHO),
    ("secrets.get", ["k"], ("k",), "v€", "v€"),
    ("secrets.list-keys", [], (), ["a", "b"], ["a", "b"]),
    ("secrets.list-keys", [], (), [], []),
    ("http.fetch", [FETCH_JSON], (FETCH,), RESPONSE, RESPONSE_JSON),
    ("http.fetch", [FETCH_JSON | {"body": None}], (FETCH | {"body": None},),
     RESPONSE | {"body": None}, RESPONSE_JSON | {"body": None}),
    ("http.fetch", [FETCH_JSON | {"body": ""}], (FETCH | {"body": b""},),
     RESPONSE | {"body": b""}, RESPONSE_JSON | {"body": ""}),
    ("storage.get", ["n", "k"], ("n", "k"), ENTRY, ENTRY_JSON),
    ("storage.put", [ENTRY_JSON | {"revision": None}], (ENTRY | {"revision": None},),
     ENTRY, ENTRY_JSON),
    ("storage.delete", ["n", "k"], ("n", "k"), None, None),
    ("storage.list-entries", ["n", "c"], ("n", "c"), [ENTRY, ENTRY], [ENTRY_JSON] * 2),
    ("storage.list-entries", ["n", None], ("n", None), [], []),
    ("logging.log-info", ["m"], ("m",), None, None),
    ("logging.log-warn", [""], ("",), None, None),
    ("logging.log-error", ["\n"], ("\n",), None, None),
    ("ui-proxy.call-route", ["/r", "AQI="], ("/r", b"\1\2"), b"\3", "Aw=="),
    ("ui-proxy.call-route", ["/r", None], ("/r", None), b"", ""),
    ("user.get-user", [], (), USER, USER),
    ("user-v2.get-user", [], (),
     USER | {"client_id": None, "additional_fields": [("a", "b"), ("c", "")]},
     USER | {"client_id": None, "additional_fields": [["a", "b"], ["c", ""]]}),
    ("scheduler.list-schedules", [], (), [SCHEDULE], [SCHEDULE]),
    ("scheduler.get-schedule", ["s"], ("s",), SCHEDULE, SCHEDULE),
    ("scheduler.get-schedule", ["s"], ("s",), None, None),
    ("scheduler.create-schedule", [CREATE], (CREATE,),
     {"success": True, "schedule_id": "s", "error": None, "field_errors": None},
     {"success": True, "schedule_id": "s", "error": None, "field_errors": None}),
    ("scheduler.update-schedule", ["s", UPDATE], ("s", UPDATE),
     {"success": False, "error": "e", "field_errors": "{}"},
     {"success": False, "error": "e", "field_errors": "{}"}),
    ("scheduler.delete-schedule", ["s"], ("s",), {"success": True}, {"success": True,
                                                                    "error": None}),
    ("scheduler.get-endpoints", [], (), [ENDPOINT], [ENDPOINT]),
    ("invoicing.create-manual-invoice", [INVOICE], (INVOICE,), INVOICED, INVOICED),
    ("clients.list-clients", [LIST_CLIENTS], (LIST_CLIENTS,), CLIENTS, CLIENTS),
    ("clients.get-client", ["c"], ("c",), CLIENT, CLIENT),
    ("clients.get-client", ["c"], ("c",), None, None),
    ("services.list-services", [LIST_SERVICES], (LIST_SERVICES,), SERVICES, SERVICES),
    ("services.get-service", ["s"], ("s",), SERVICE, SERVICE),
    ("services.get-service", ["s"], ("s",), None, None),
]  # fmt: skip


def errors() -> list[Case]:
    """Every name of every error, after the arguments that the function takes."""
    arguments: dict[str, tuple[list[Any], tuple[Any, ...]]] = {
        name: (given, seen) for name, given, seen, _, _ in CASES
    }
    return [
        (f"{interface}.{function}", *arguments[f"{interface}.{function}"], Err(error),
         {"err": error})
        for interface, functions in wit.world_imports().items()
        for function, signature in functions.items()
        if isinstance(signature.result, ResultOf) and isinstance(signature.result.err, Enum)
        for error in signature.result.err.names
    ]  # fmt: skip


def test_the_cases_name_every_function() -> None:
    named = {name for name, *_ in CASES}
    assert named == {f"{i}.{f}" for i, functions in wit.world_imports().items() for f in functions}
    options = {
        f"{i}.{f}"
        for i, functions in wit.world_imports().items()
        for f, signature in functions.items()
        if isinstance(signature.result, ResultOf) and isinstance(signature.result.ok, OptionOf)
    }
    assert options == {name for name, _, _, returned, _ in CASES if returned is None} - {
        "storage.delete", "logging.log-info", "logging.log-warn", "logging.log-error",
    }  # fmt: skip


def _through(name: str, compiler: ComponentCompiler, cases: list[Case]) -> None:
    from algaenv.runner.wasm.guest import GuestLoader

    seen: list[tuple[Any, ...]] = []
    left = list(cases)

    def answering(*given: Any) -> object:
        call, *arguments = given
        assert call.request_id == "r-1"
        seen.append(tuple(arguments))
        return left[len(seen) - 1][3]

    functions = {
        f"{interface}__{function}".replace("-", "_"): answering
        for interface, names in wit.world_imports().items()
        for function in names
    }
    try:
        source = built(name)
    except ToolMissing as error:
        pytest.skip(str(error))
    guests = GuestLoader(table(**functions), 1)
    try:
        guest = compiler.load(guests, source)
        script = {"calls": [{"fn": fn, "args": args} for fn, args, *_ in cases]}
        answer = guest.call(invocation(), request(json.dumps(script).encode()), memory_bytes=MEMORY)
    finally:
        guests.close()
    got = json.loads(answer["body"])["results"]
    wanted = [e if isinstance(r, Err) else {"ok": e} for *_, r, e in cases]
    assert got == wanted
    assert seen == [case[2] for case in cases]


@pytest.mark.parametrize("name", ["script", "everything-js"])
def test_every_arm(name: str, compiler: ComponentCompiler) -> None:
    _through(name, compiler, [*CASES, *errors()])
