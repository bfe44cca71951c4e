"""A manual invoice as extensions ask for it, checked field by field as the product does it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from algaenv.gateway.internal.jsontext import units

_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST_DESCRIPTION = 500
_LONGEST_ORDER = 128
_WHOLE = 100
"""Percent."""


class BadFields(Exception):
    """`errors` has one message a field, which is named as `items[0].rate`."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Item:
    """One line. Rates are in minor units, of a discount in percent it may be."""

    serviceId: str
    quantity: float
    description: str
    rate: float
    isDiscount: bool
    discountType: Literal["percentage", "fixed"] | None
    appliesToItemId: str | None
    appliesToServiceId: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole invoice. Dates are `YYYY-MM-DD`."""

    clientId: str
    items: tuple[Item, ...]
    invoiceDate: str | None
    dueDate: str | None
    poNumber: str | None


def read(body: Mapping[str, Any]) -> Asked:
    """Read a body. Raises BadFields with all that is wrong."""
    errors = _Errors()
    client = errors.id(body, "clientId", "clientId")
    listed = body.get("items")
    items: list[Item] = []
    if not isinstance(listed, list) or not listed:
        errors.add("items", "There must be at least one item")
    else:
        items = [_item(each, f"items[{number}]", errors) for number, each in enumerate(listed)]
    asked = Asked(
        clientId=client,
        items=tuple(items),
        invoiceDate=errors.date(body, "invoiceDate"),
        dueDate=errors.date(body, "dueDate"),
        poNumber=_text(body.get("poNumber")) or None,
    )
    if asked.poNumber and units(asked.poNumber) > _LONGEST_ORDER:
        errors.add("poNumber", f"No more than {_LONGEST_ORDER} characters")
    if errors.found:
        raise BadFields(errors.found)
    return asked


class _Errors:
    """The first complaint about each field."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, field: str, message: str) -> None:
        self.found.setdefault(field, message)

    def id(self, fields: Mapping[str, Any], name: str, field: str) -> str:
        value = _text(fields.get(name))
        if not value:
            self.add(field, "Required")
        elif not _ID.fullmatch(value):
            self.add(field, "Not a UUID")
        return value

    def date(self, fields: Mapping[str, Any], name: str) -> str | None:
        value = _text(fields.get(name))
        if value and not _DATE.fullmatch(value):
            self.add(name, "Not a date as YYYY-MM-DD")
        return value or None

    def number(
        self, fields: Mapping[str, Any], name: str, field: str, least: float, *, above: bool
    ) -> float:
        value = _number(fields.get(name))
        if not (math.isfinite(value) and (value > least if above else value >= least)):
            self.add(field, f"Must be {'more than' if above else 'at least'} {least:g}")
        return value


def _item(value: Any, field: str, errors: _Errors) -> Item:
    if not isinstance(value, dict):
        errors.add(field, "Not an item")
        value = {}
    description = _text(value.get("description"))
    if not description:
        errors.add(f"{field}.description", "Required")
    elif units(description) > _LONGEST_DESCRIPTION:
        errors.add(f"{field}.description", f"No more than {_LONGEST_DESCRIPTION} characters")
    item = Item(
        serviceId=errors.id(value, "serviceId", f"{field}.serviceId"),
        quantity=errors.number(value, "quantity", f"{field}.quantity", 0, above=True),
        description=description,
        rate=errors.number(value, "rate", f"{field}.rate", 0, above=False),
        isDiscount=bool(value.get("isDiscount")),
        discountType=_discount(value.get("discountType")),
        appliesToItemId=_target(value, "appliesToItemId", field, errors),
        appliesToServiceId=_target(value, "appliesToServiceId", field, errors),
    )
    _judge_discount(item, value, field, errors)
    return item


def _judge_discount(item: Item, value: Mapping[str, Any], field: str, errors: _Errors) -> None:
    targets = [name for name in ("appliesToItemId", "appliesToServiceId") if name in value]
    if item.isDiscount:
        if item.discountType is None:
            errors.add(f"{field}.discountType", "Required of a discount")
        if item.discountType == "percentage" and item.rate > _WHOLE:
            errors.add(f"{field}.rate", "A discount in percent is from 0 to 100")
        if len(targets) > 1:
            errors.add(field, "A discount applies to an item or to a service, not to both")
        return
    if _text(value.get("discountType")):
        errors.add(f"{field}.discountType", "Only a discount has one")
    if targets:
        errors.add(field, "Only a discount applies to something")


def _target(value: Mapping[str, Any], name: str, field: str, errors: _Errors) -> str | None:
    return errors.id(value, name, f"{field}.{name}") if name in value else None


def _discount(value: Any) -> Literal["percentage", "fixed"] | None:
    match _text(value):
        case "percentage":
            return "percentage"
        case "fixed":
            return "fixed"
        case _:
            return None


def _text(value: Any) -> str:
    """Trimmed; what is no string is spelled as one, and then fits no rule."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else str(value)


def _number(value: Any) -> float:
    """As JavaScript turns it into a number; NaN where it does not."""
    if isinstance(value, bool | int | float):
        return float(value)
    if value is None:
        return math.nan
    try:
        return float(value.strip() or 0) if isinstance(value, str) else math.nan
    except ValueError:
        return math.nan
