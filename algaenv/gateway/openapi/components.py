"""Builders for the parts of the document, the components that they refer to, and the schemas of the
bodies that the internal APIs take, from the models that parse them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from algaenv.gateway.apis.storage import requests
from algaenv.gateway.quirks import QUIRK_HEADER as FAULT
from algaenv.gateway.quirks import QUIRKS
from algaenv.gateway.responses import PROBLEM_JSON
from algaenv.gateway.users import USER_COOKIE, USER_HEADER, USER_QUERY
from algaenv.problems import load_problem_codes

if TYPE_CHECKING:
    from pydantic import BaseModel

Json = dict[str, Any]

UUID: Json = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
STRING: Json = {"type": "string"}
NULLABLE_STRING: Json = {"type": ["string", "null"]}
TIMESTAMP: Json = {"type": ["string", "null"], "format": "date-time"}
INTEGER: Json = {"type": "integer"}
BOOLEAN: Json = {"type": "boolean"}
ANY: Json = {}

HEADERS: Mapping[str, str] = {
    "x-algaenv-request-id": "The id of the call: the caller's `x-request-id`, or a new one.",
    "x-algaenv-runner-ms": "How long the runner took, in milliseconds.",
    "x-algaenv-error": "What went wrong: a code and a sentence, or the runner's own words, which "
    "the product drops.",
    "x-algaenv-hint": "What to do about it.",
    "x-algaenv-reason": "Why a handler ended without an answer.",
    "x-algaenv-stderr": "The last line that the handler wrote to stderr.",
    FAULT: "Name of a fault of the product that shows in this answer.",
}


def ref(name: str) -> Json:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array_of(items: Json) -> Json:
    """A list of them."""
    return {"type": "array", "items": items}


def enum_of(values: Iterable[object]) -> Json:
    """Any of these values."""
    return {"enum": list(values)}


def object_of(properties: Mapping[str, Json], *, optional: Iterable[str] = ()) -> Json:
    """An object with these fields and no other; those that are not optional are always there."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in set(optional)],
        "additionalProperties": False,
    }


def parameter(
    place: str, name: str, description: str, schema: Json | None = None, *, required: bool = False
) -> Json:
    """A parameter; one of the path is always required."""
    return {
        "in": place,
        "name": name,
        "description": description,
        "required": required or place == "path",
        "schema": schema or STRING,
    }


USERS = (
    parameter(
        "header", USER_HEADER, "Who asks: the name of a user. Before the query and the cookie."
    ),
    parameter("query", USER_QUERY, "The same. The handler does not see it."),
    parameter(
        "cookie", USER_COOKIE, "The same, left by the page; a name that nobody has is ignored."
    ),
)


def response(
    description: str, content: Mapping[str, Json] | None = None, headers: Iterable[str] = ()
) -> Json:
    """A response: what it means, media type → schema, names of `HEADERS`."""
    found: Json = {"description": description}
    if content:
        found["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    if named := list(headers):
        found["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in named}
    return found


def json_response(description: str, schema: Json, headers: Iterable[str] = ()) -> Json:
    """A response in JSON."""
    return response(description, {"application/json": schema}, headers)


def problem_response(
    description: str, *errors: str, more: Mapping[str, Json] | None = None
) -> Json:
    """A response of the gateway itself; with the problem in its body for who accepts one."""
    fields = {"error": enum_of(errors), **(more or {})}
    plain = object_of(fields, optional=more or ())
    with_problem = object_of({**fields, "problem": ref("Problem")}, optional=more or ())
    headers = ("x-algaenv-error", "x-algaenv-hint")
    return response(description, {"application/json": plain, PROBLEM_JSON: with_problem}, headers)


def operation(
    identity: str, summary: str, tag: str, responses: Mapping[str, Json], **more: Any
) -> Json:
    """One method of a path."""
    return {
        "operationId": identity,
        "summary": summary,
        "tags": [tag],
        **more,
        "responses": dict(responses),
    }


def forbidden_response(*more: str) -> Json:
    """The response to a page of another site, and to a request with another host name."""
    return problem_response(
        "A page of another site, or a host that is not this machine"
        + (", or one of the rules of the gateway." if more else "."),
        "host_refused",
        "origin_refused",
        *more,
        more={"code": enum_of(["PRODUCT_ACCESS_DENIED"])} if more else None,
    )


def shared_components() -> Json:
    """Schemas and headers that several parts refer to."""
    codes = load_problem_codes()["gateway"]
    problem = {
        "code": enum_of(each.code for each in codes),
        "summary": STRING,
        "hint": STRING,
        "reason": STRING,
        "stderr": array_of(STRING),
    }
    return {
        "schemas": {
            "Problem": object_of(problem, optional=("reason", "stderr"))
            | {"description": "\n".join(f"* `{each.code}`: {each.meaning}" for each in codes)},
            "Details": object_of(
                {
                    "formErrors": array_of(STRING),
                    "fieldErrors": {"type": "object", "additionalProperties": array_of(STRING)},
                }
            ),
        },
        "headers": {
            name: {
                "description": description,
                "schema": enum_of(it.name for it in QUIRKS) if name == FAULT else STRING,
            }
            for name, description in HEADERS.items()
        },
    }


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
