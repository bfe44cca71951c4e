"""`invoicing`: an invoice by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from algaenv.runner.execute.invocation import CAP_INVOICING, Invocation
from algaenv.runner.host import internal_api
from algaenv.runner.host.internal_api import (
    Fields,
    HostCallError,
    InternalApi,
    as_number,
    bool_field,
    camel_case,
    raw_field,
)
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import Outbound

OPERATION = "createManualInvoice"

_Record = dict[str, Any]
_FLOATS = frozenset(("quantity", "rate"))


class Invoicing:
    """Asks the application server; what went wrong stands in the record."""

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._api = InternalApi("invoicing", {}, host_settings=host_settings, outbound=outbound)

    def create_manual_invoice(self, invocation: Invocation, arguments: _Record) -> _Record:
        """create-manual-invoice-result."""
        if CAP_INVOICING not in invocation.capabilities:
            return _failed(f"Permission denied: {CAP_INVOICING} not granted")
        if invocation.install is None:
            return _failed("Permission denied: install_id missing")
        fields = {
            camel_case(name): [_item(item) for item in value] if name == "items" else value
            for name, value in arguments.items()
            if value is not None
        }
        try:
            reply = self._api.call(invocation, OPERATION, fields)
        except HostCallError as error:
            return _failed(error.text)
        if not isinstance(reply, dict):
            return _failed("invalid response")
        return _result(reply)


def _item(item: _Record) -> _Record:
    return {
        camel_case(name): _finite(value) if name in _FLOATS else value
        for name, value in item.items()
        if value is not None
    }


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _failed(error: str) -> _Record:
    return _result({}) | {"error": error}


def _result(reply: Fields) -> _Record:
    error = reply.get("error")
    return {
        "success": bool_field(reply, "success", default=False),
        "invoice_id": _text(reply, "invoice_id"),
        "invoice_number": _text(reply, "invoice_number"),
        "status": _text(reply, "status"),
        "subtotal": _number(reply, "subtotal"),
        "tax": _number(reply, "tax"),
        "total": _number(reply, "total"),
        "error": error if isinstance(error, str) else None,
        "field_errors": _field_errors(raw_field(reply, "field_errors")),
    }


def _text(reply: Fields, name: str) -> str | None:
    return next((value for value in _candidates(reply, name) if isinstance(value, str)), None)


def _number(reply: Fields, name: str) -> float | None:
    found = (as_number(value) for value in _candidates(reply, name))
    return next((value for value in found if value is not None), None)


def _candidates(reply: Fields, name: str) -> Iterator[object]:
    """Under each spelling at the top first, then in the `invoice`."""
    nested = reply.get("invoice")
    for spelled in (camel_case(name), name):
        yield reply.get(spelled)
        if isinstance(nested, dict):
            yield nested.get(spelled)


def _field_errors(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else internal_api.dump_json(value)
