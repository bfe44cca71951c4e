"""Bodies of the storage operations: their models, limits, and the schema of a namespace."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from algaenv.gateway.apis.api_endpoint import ApiError, length, whole
from algaenv.gateway.javascript import Pattern, dump_json, to_text

if TYPE_CHECKING:
    from jsonschema import ValidationError

MAX_NAMESPACES = 32
MAX_KEYS = 5_120
MAX_VALUE_BYTES = 64 * 1024
MAX_METADATA_BYTES = 4 * 1024
MAX_BULK_BYTES = 512 * 1024
MAX_BULK_ITEMS = 20
MAX_TOTAL_BYTES = 256 * 1024 * 1024

MIN_TTL_SECONDS = 60
"""Seconds."""
MAX_TTL_SECONDS = 30 * 24 * 60 * 60
"""Seconds."""


Namespace = Annotated[str, length(1, 128)]
Key = Annotated[str, length(1, 256)]
Positive = Annotated[int, Field(gt=0), whole(gt=0)]
Revision = Annotated[int, Field(ge=0), whole(ge=0)]


class Body(BaseModel):
    """Strict about types, blind to fields it does not know. A null is not a missing field."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class StorageOperation(Body):
    """What every body has."""

    operation: Literal["put", "get", "list", "delete", "bulkPut"]
    namespace: Namespace


class Item(Body):
    """A record to be written. A missing value is stored as null."""

    key: Key
    value: Any = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    ttlSeconds: Positive = 0
    """0 when missing: does not expire."""
    ifRevision: Revision = -1
    """-1 when missing: whatever is there is replaced."""
    schemaVersion: Positive = 0
    """0 when missing: the active one."""


class PutRequest(StorageOperation, Item):
    """Write one record."""


class BulkPutRequest(StorageOperation):
    """Write several records, all or none."""

    items: Annotated[list[Item], Field(min_length=1)]


class RecordRequest(StorageOperation):
    """Read or delete one record."""

    key: Key
    ifRevision: Revision = -1


class ListRequest(StorageOperation):
    """Read a page of records."""

    limit: Annotated[int, Field(ge=1, le=100), whole(ge=1, le=100)] = 25
    cursor: str = ""
    keyPrefix: Annotated[str, length(0, 256)] = ""
    includeValues: StrictBool = False
    includeMetadata: StrictBool = False


def check_key(key: str) -> None:
    """Refuse what no key may hold. Raises ApiError."""
    if "/" in key:
        raise ApiError("VALIDATION_FAILED", 'key must be 1-256 characters and must not contain "/"')


def check_item(item: Item) -> None:
    """Refuse what no record may be. Raises ApiError."""
    check_key(item.key)
    if wrong := wrong_ttl(item):
        raise wrong
    value, metadata = sizes(item)
    if value > MAX_VALUE_BYTES:
        raise ApiError("LIMIT_EXCEEDED", f"value exceeds max size of {MAX_VALUE_BYTES} bytes")
    if metadata > MAX_METADATA_BYTES:
        raise ApiError("LIMIT_EXCEEDED", f"metadata exceeds max size of {MAX_METADATA_BYTES} bytes")


def check_bulk(items: list[Item]) -> None:
    """Refuse what holds for several records together. Raises ApiError."""
    if len(items) > MAX_BULK_ITEMS:
        raise ApiError("LIMIT_EXCEEDED", f"bulk operations limited to {MAX_BULK_ITEMS} items")
    keys: set[str] = set()
    for item in items:
        check_key(item.key)
        if item.key in keys:
            raise ApiError("VALIDATION_FAILED", f"duplicate key in bulk payload: {item.key}")
        keys.add(item.key)
    total = sum(sum(sizes(it)) for it in items)
    if total > MAX_BULK_BYTES:
        message = f"bulk payload exceeds {MAX_BULK_BYTES} bytes (actual {total})"
        raise ApiError("LIMIT_EXCEEDED", message)
    if len({it.schemaVersion for it in items if it.schemaVersion}) > 1:
        raise ApiError(
            "VALIDATION_FAILED", "all items in a bulk write must use the same schemaVersion"
        )


def wrong_size(item: Item) -> ApiError | None:
    """What is said of an item of several that is too large."""
    value, metadata = sizes(item)
    if value > MAX_VALUE_BYTES:
        return ApiError("LIMIT_EXCEEDED", f"value for key {item.key} exceeds max size")
    if metadata > MAX_METADATA_BYTES:
        return ApiError("LIMIT_EXCEEDED", f"metadata for key {item.key} exceeds max size")
    return None


def wrong_ttl(item: Item) -> ApiError | None:
    """What is said of an item that is to live too short or too long."""
    if 0 < item.ttlSeconds < MIN_TTL_SECONDS:
        return ApiError("LIMIT_EXCEEDED", f"ttlSeconds must be >= {MIN_TTL_SECONDS}")
    if item.ttlSeconds > MAX_TTL_SECONDS:
        return ApiError("LIMIT_EXCEEDED", f"ttlSeconds must be <= {MAX_TTL_SECONDS}")
    return None


def sizes(item: Item) -> tuple[int, int]:
    """Bytes of the value and of the metadata."""
    return len(dump_json(item.value)), len(dump_json(item.metadata))


class UnusableSchema(Exception):
    """The product's checker, Ajv in its strict mode, does not take the schema: it answers 500."""


_DIALECT = "http://json-schema.org/draft-07/schema"
_ORDER = (
    *("type", "$ref", "const", "enum", "not", "anyOf", "oneOf", "allOf", "if", "then", "else"),
    *("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "multipleOf"),
    *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems"),
    *("additionalItems", "items", "contains", "maxProperties", "minProperties", "required"),
    *("propertyNames", "additionalProperties", "dependencies", "properties", "patternProperties"),
)
"""Of what Ajv checks, so that its errors come in this order."""
_UNCHECKED = (
    *("$comment", "$defs", "$id", "$schema", "$vocabulary", "definitions", "nullable", "default"),
    *("deprecated", "description", "examples", "readOnly", "title", "writeOnly"),
    *("contentEncoding", "contentMediaType", "contentSchema"),
)
_RANKS = {keyword: rank for rank, keyword in enumerate((*_ORDER, *_UNCHECKED))}
_MAPS_OF_SCHEMAS = frozenset(("dependencies", "patternProperties", "properties"))
_DEFINITIONS = frozenset(("definitions", "$defs"))
_SCHEMAS = frozenset(
    (
        *("additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "else", "if"),
        *("items", "not", "oneOf", "propertyNames", "then"),
    )
)
_COMPARISONS = {
    "minimum": ">=",
    "maximum": "<=",
    "exclusiveMinimum": ">",
    "exclusiveMaximum": "<",
}
_COUNTS = {
    f"{bound}{things}": f"must NOT have {than} than {{}} {name}"
    for bound, than in (("min", "fewer"), ("max", "more"))
    for things, name in (("Length", "characters"), ("Items", "items"), ("Properties", "properties"))
}


def check_schema(schema: Any, values: Iterable[Any]) -> None:
    """Refuse the first value that does not fit. Raises ApiError, UnusableSchema, SchemaError."""
    from jsonschema import Draft7Validator
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    dialect = schema.get("$schema", _DIALECT) if isinstance(schema, dict) else _DIALECT
    if str(dialect).removesuffix("#") != _DIALECT:
        raise UnusableSchema(f"the dialect {dialect!r} is not known")
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(_strict(schema, _referenced(schema)), registry=REGISTRY)
    for value in values:
        errors = [each for error in validator.iter_errors(value) for each in _ajv_errors(error)]
        if errors:
            # A checker that says one thing of several properties says it once for each.
            told = [it for place, it in enumerate(errors) if it not in errors[:place]]
            raise ApiError("VALIDATION_FAILED", "payload failed schema validation", told)


def _referenced(schema: Any) -> frozenset[str]:
    """The names of definitions that something refers to: others are not looked at."""
    found = json.dumps(schema, ensure_ascii=False)
    return frozenset(re.findall(r'"\$ref": "#/(?:definitions|\$defs)/([^"/]+)', found))


def _strict(schema: Any, referenced: frozenset[str]) -> Any:
    """The schema with its keywords in Ajv's order. Raises UnusableSchema for unknown ones, and for
    every format, since none is registered."""
    if isinstance(schema, list):
        return [_strict(each, referenced) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "format" in schema:
        raise UnusableSchema(f"unknown format: {schema['format']!r}")
    if unknown := sorted(set(schema) - set(_RANKS)):
        raise UnusableSchema(f"unknown keyword: {unknown[0]!r}")
    ordered = {}
    for name in sorted(schema, key=_RANKS.__getitem__):
        value = schema[name]
        if name in _SCHEMAS:
            value = _strict(value, referenced)
        elif name == "pattern":
            value = _pattern(value)
        elif name in _MAPS_OF_SCHEMAS:
            # Beside schemas, `dependencies` have lists of names.
            value = {
                _pattern(key) if name == "patternProperties" else key: (
                    each if isinstance(each, list) else _strict(each, referenced)
                )
                for key, each in value.items()
            }
        elif name in _DEFINITIONS:
            value = {
                key: _strict(each, referenced) if key in referenced else each
                for key, each in value.items()
            }
        ordered[name] = value
    return ordered


def _pattern(source: str) -> Pattern:
    try:
        return Pattern.translated(source)
    except re.error as error:
        raise UnusableSchema(f"the pattern {source!r} is not known: {error}") from None


def _ajv_errors(error: ValidationError) -> list[dict[str, Any]]:
    """What the product's checker says of it: as many errors, in its words."""
    keyword = str(error.validator or "false schema")
    path = [*error.absolute_schema_path, *([] if error.validator else [keyword])]
    place = {
        "instancePath": _pointer("", error.absolute_path),
        "schemaPath": _pointer("#", path),
        "keyword": keyword,
    }
    errors = [each for inner in error.context or () for each in _ajv_errors(inner)]
    for params, message in _told(keyword, error):
        errors.append(place | {"params": params, "message": message})
    return errors


_OTHERS: dict[str, tuple[Mapping[str, Any], str]] = {
    "anyOf": ({}, "must match a schema in anyOf"),
    "contains": ({"minContains": 1}, "must contain at least 1 valid item(s)"),
    "false schema": ({}, "boolean schema is false"),
    "not": ({}, "must NOT be valid"),
    "oneOf": ({"passingSchemas": None}, "must match exactly one schema in oneOf"),
}
_WITH_LIMIT = {
    "const": ("allowedValue", "must be equal to constant"),
    "enum": ("allowedValues", "must be equal to one of the allowed values"),
    "multipleOf": ("multipleOf", "must be multiple of {}"),
    "pattern": ("pattern", 'must match pattern "{}"'),
    "type": ("type", "must be {}"),
    **{keyword: ("limit", message) for keyword, message in _COUNTS.items()},
}


def _told(keyword: str, error: ValidationError) -> list[tuple[Mapping[str, Any], str]]:
    """Parameters and message of every error that Ajv makes of this one."""
    limit: Any = error.validator_value
    if comparison := _COMPARISONS.get(keyword):
        params = {"comparison": comparison, "limit": limit}
        return [(params, f"must be {comparison} {to_text(limit)}")]
    limit = str(limit) if isinstance(limit, Pattern) else limit
    if known := _WITH_LIMIT.get(keyword):
        return [({known[0]: limit}, known[1].format(to_text(limit)))]
    value: Any = error.instance
    if keyword == "required":
        missing = (it for it in limit if it not in value)
        return [({"missingProperty": it}, f"must have required property '{it}'") for it in missing]
    if keyword == "additionalProperties":
        message = "must NOT have additional properties"
        return [({"additionalProperty": it}, message) for it in _additional(error)]
    return [_OTHERS.get(keyword, ({}, error.message))]


def _additional(error: ValidationError) -> list[str]:
    schema: Any = error.schema
    value: Any = error.instance
    patterns = [*schema.get("patternProperties", ())]
    return [
        it
        for it in value
        if it not in schema.get("properties", ())
        and not any(re.search(pattern, it) for pattern in patterns)
    ]


def _pointer(start: str, path: Iterable[str | int]) -> str:
    parts = (str(it).replace("~", "~0").replace("/", "~1") for it in path)
    return "/".join((start, *parts))
