"""Builders for the parts of the document, and the components that they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from algaenv.gateway.quirks import QUIRK_HEADER as FAULT
from algaenv.gateway.quirks import QUIRKS
from algaenv.gateway.responses import PROBLEM_JSON
from algaenv.problems import load_problem_codes

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
