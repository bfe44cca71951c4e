"""The pieces that every part of the document is made of, and the components that they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from algaenv.gateway.answers import PROBLEM_JSON
from algaenv.gateway.codes import CODES
from algaenv.gateway.faults import FAULTS
from algaenv.gateway.faults import HEADER as FAULT

Json = dict[str, Any]

UUID: Json = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
TEXT: Json = {"type": "string"}
WORDS: Json = {"type": ["string", "null"]}
MOMENT: Json = {"type": ["string", "null"], "format": "date-time"}
WHOLE: Json = {"type": "integer"}
YES_OR_NO: Json = {"type": "boolean"}
ANYTHING: Json = {}

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


def many(items: Json) -> Json:
    """A list of them."""
    return {"type": "array", "items": items}


def one_of(values: Iterable[object]) -> Json:
    """Any of these values."""
    return {"enum": list(values)}


def fields(properties: Mapping[str, Json], *, optional: Iterable[str] = ()) -> Json:
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
        "schema": schema or TEXT,
    }


def answer(
    description: str, content: Mapping[str, Json] | None = None, headers: Iterable[str] = ()
) -> Json:
    """A response: what it means, media type → schema, names of `HEADERS`."""
    found: Json = {"description": description}
    if content:
        found["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    if named := list(headers):
        found["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in named}
    return found


def json(description: str, schema: Json, headers: Iterable[str] = ()) -> Json:
    """A response in JSON."""
    return answer(description, {"application/json": schema}, headers)


def refusal(description: str, *errors: str, more: Mapping[str, Json] | None = None) -> Json:
    """A response of the gateway itself; with the problem in its body for who accepts one."""
    said = {"error": one_of(errors), **(more or {})}
    plain = fields(said, optional=more or ())
    told = fields({**said, "problem": ref("Problem")}, optional=more or ())
    headers = ("x-algaenv-error", "x-algaenv-hint")
    return answer(description, {"application/json": plain, PROBLEM_JSON: told}, headers)


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


def guarded(*more: str) -> Json:
    """What a page of another site is answered, and whoever calls this machine by another name."""
    return refusal(
        "A page of another site, or a host that is not this machine"
        + (", or one of the rules of the gateway." if more else "."),
        "host_refused",
        "origin_refused",
        *more,
        more={"code": one_of(["PRODUCT_ACCESS_DENIED"])} if more else None,
    )


def shared() -> Json:
    """Schemas and headers that several parts refer to."""
    problem = {
        "code": one_of(code for code, _ in CODES),
        "summary": TEXT,
        "hint": TEXT,
        "reason": TEXT,
        "stderr": many(TEXT),
    }
    return {
        "schemas": {
            "Problem": fields(problem, optional=("reason", "stderr"))
            | {"description": "\n".join(f"* `{code}`: {text}" for code, text in CODES)},
            "Details": fields(
                {
                    "formErrors": many(TEXT),
                    "fieldErrors": {"type": "object", "additionalProperties": many(TEXT)},
                }
            ),
        },
        "headers": {
            name: {
                "description": description,
                "schema": one_of(it.name for it in FAULTS) if name == FAULT else TEXT,
            }
            for name, description in HEADERS.items()
        },
    }
