"""Schemas of the bodies that the internal APIs take, from the models that parse them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from algaenv.gateway.apis.storage import requests
from algaenv.gateway.openapi.components import (
    BOOLEAN,
    STRING,
    UUID,
    Json,
    array_of,
    enum_of,
    object_of,
    ref,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

MAX_LENGTHS = {"namespace": 128, "key": 256, "keyPrefix": 256}
"""Characters, as UTF-16 counts them; the models check them in code."""
MAX_DESCRIPTION = 500
MAX_PO_NUMBER = 128

_ANY_CASE = "(?i:"
_DISCOUNTS = ("percentage", "fixed")


class BodySchemas:
    """Makes schemas of models, and keeps those that they refer to."""

    def __init__(self) -> None:
        self.schemas: Json = {}

    def choice(self, api: str, shapes: Mapping[str, Json]) -> Json:
        """A body whose `operation` selects one of these shapes."""
        names = {operation: f"{api}{operation[0].upper()}{operation[1:]}" for operation in shapes}
        for operation, name in names.items():
            self.schemas[name] = _named(shapes[operation], operation)
        mapping = {operation: ref(name)["$ref"] for operation, name in names.items()}
        return {
            "oneOf": [ref(name) for name in names.values()],
            "discriminator": {"propertyName": "operation", "mapping": mapping},
        }

    def of(self, api: str, model: type[BaseModel]) -> Json:
        """The schema of a model."""
        made = model.model_json_schema(ref_template=f"#/components/schemas/{api}{{model}}")
        for name, inner in made.pop("$defs", {}).items():
            self.schemas[f"{api}{name}"] = _plain(inner)
        return dict(_plain(made))


def storage(bodies: BodySchemas) -> Json:
    """Of `ext-storage`."""
    from algaenv.gateway.apis.storage.requests import (
        BulkPutRequest,
        ListRequest,
        PutRequest,
        RecordRequest,
    )

    models: dict[str, type[BaseModel]] = {
        "put": PutRequest,
        "get": RecordRequest,
        "delete": RecordRequest,
        "list": ListRequest,
        "bulkPut": BulkPutRequest,
    }
    shapes = {name: bodies.of("Storage", model) for name, model in models.items()}
    return bodies.choice("Storage", shapes)


def scheduler(bodies: BodySchemas) -> Json:
    """Of `ext-scheduler`."""
    from algaenv.gateway.apis.scheduler.api import (
        CreateRequest,
        ScheduleRequest,
        SchedulerOperation,
        UpdateRequest,
    )

    models: dict[str, type[BaseModel]] = {
        "list": SchedulerOperation,
        "get": ScheduleRequest,
        "create": CreateRequest,
        "update": UpdateRequest,
        "delete": ScheduleRequest,
        "getEndpoints": SchedulerOperation,
    }
    shapes = {name: bodies.of("Schedule", model) for name, model in models.items()}
    return bodies.choice("Schedule", shapes)


def directory(bodies: BodySchemas, kind: str) -> Json:
    """Of `ext-clients` and `ext-services`; `kind` is `Client` or `Service`."""
    from algaenv.gateway.apis import directory as it

    shapes_of: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
        "Client": (it.ClientPageRequest, it.ClientRequest),
        "Service": (it.ServicePageRequest, it.ServiceRequest),
    }
    page, one = shapes_of[kind]
    user = bodies.of(kind, it.ActingUser)
    shapes = {
        "list": _with_user(bodies.of(kind, page), user, required=False),
        "get": _with_user(bodies.of(kind, one), user, required=True),
    }
    return bodies.choice(kind, shapes)


def invoicing(bodies: BodySchemas) -> Json:
    """Of `ext-invoicing`."""
    date = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    item = {
        "serviceId": _any_version(UUID),
        "quantity": {"type": "number", "exclusiveMinimum": 0},
        "description": {**STRING, "minLength": 1, "maxLength": MAX_DESCRIPTION},
        "rate": {"type": "number", "minimum": 0, "description": "In minor units, or percent."},
        "isDiscount": BOOLEAN,
        "discountType": enum_of(_DISCOUNTS),
        "appliesToItemId": _any_version(UUID),
        "appliesToServiceId": _any_version(UUID),
    }
    optional = ("isDiscount", "discountType", "appliesToItemId", "appliesToServiceId")
    bodies.schemas["InvoiceItem"] = _open(object_of(item, optional=optional))
    invoice = {
        "clientId": _any_version(UUID),
        "items": array_of(ref("InvoiceItem")) | {"minItems": 1},
        "invoiceDate": date,
        "dueDate": date,
        "poNumber": {**STRING, "maxLength": MAX_PO_NUMBER},
    }
    schema = _open(object_of(invoice, optional=("invoiceDate", "dueDate", "poNumber")))
    return bodies.choice("Invoice", {"createManualInvoice": schema})


def _with_user(schema: Json, user: Json, *, required: bool) -> Json:
    return _open(
        object_of({"input": schema, "user": user}, optional=["user", *["input"][required:]])
    )


def _named(shape: Json, operation: str) -> Json:
    properties = {**shape["properties"], "operation": {"const": operation}}
    required = dict.fromkeys(("operation", *shape.get("required", ())))
    return {**shape, "properties": properties, "required": list(required)}


def _open(schema: Json) -> Json:
    """What is not known is passed over."""
    return {name: value for name, value in schema.items() if name != "additionalProperties"}


def _any_version(schema: Json) -> Json:
    """UUIDs of version 1 to 5, which alone the product takes for some ids."""
    hexadecimal = "[0-9a-fA-F]"
    pattern = f"^{hexadecimal}{{8}}-{hexadecimal}{{4}}-[1-5]{hexadecimal}{{3}}"
    return {**schema, "pattern": f"{pattern}-[89abAB]{hexadecimal}{{3}}-{hexadecimal}{{12}}$"}


def _plain(schema: Any) -> Any:
    """Without titles, without what stands in a model for "not there", and with all limits."""
    match schema:
        case {"pattern": str(pattern), **rest} if pattern.startswith(f"^{_ANY_CASE}"):
            return {**_plain(rest), **UUID}
        case {"properties": dict(properties), **rest}:
            known = {name: _field(name, _plain(each)) for name, each in properties.items()}
            return {"properties": known, **_plain(rest)}
        case dict():
            kept = {name: each for name, each in schema.items() if name not in {"title", "default"}}
            return {name: _plain(each) for name, each in kept.items()}
        case list():
            return [_plain(each) for each in schema]
        case _:
            return schema


def _field(name: str, schema: Json) -> Json:
    if most := MAX_LENGTHS.get(name):
        least = {} if name == "keyPrefix" else {"minLength": 1}
        slashes = {"pattern": "^[^/]*$"} if name == "key" else {}
        return {**schema, "maxLength": most, **least, **slashes}
    if name == "ttlSeconds":
        return {
            "type": "integer",
            "minimum": requests.MIN_TTL_SECONDS,
            "maximum": requests.MAX_TTL_SECONDS,
        }
    if name == "payload":
        return {"type": ["object", "array", "null"]}
    if name == "items":
        return {**schema, "maxItems": requests.MAX_BULK_ITEMS}
    return schema
