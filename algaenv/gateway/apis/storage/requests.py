"""Bodies of the storage operations: their models, limits, and the schema of a namespace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from algaenv.gateway.apis.api_endpoint import ApiError, dump_json, utf16_length

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


def _length(at_least: int, at_most: int) -> AfterValidator:
    def check(text: str) -> str:
        if not at_least <= utf16_length(text) <= at_most:
            raise ValueError(f"must have {at_least} to {at_most} characters")
        return text

    return AfterValidator(check)


Namespace = Annotated[str, _length(1, 128)]
Key = Annotated[str, _length(1, 256)]
Positive = Annotated[int, Field(gt=0)]
Revision = Annotated[int, Field(ge=0)]


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

    limit: Annotated[int, Field(ge=1, le=100)] = 25
    cursor: str = ""
    keyPrefix: Annotated[str, _length(0, 256)] = ""
    includeValues: StrictBool = False
    includeMetadata: StrictBool = False


def check_key(key: str) -> None:
    """Refuse what no key may hold. Raises ApiError."""
    if "/" in key:
        raise ApiError("VALIDATION_FAILED", "A key must not contain a slash")


def check_bulk(items: list[Item]) -> None:
    """Refuse what holds for several records together. Raises ApiError."""
    if len(items) > MAX_BULK_ITEMS:
        raise ApiError("LIMIT_EXCEEDED", f"No more than {MAX_BULK_ITEMS} items at once")
    if len({it.key for it in items}) < len(items):
        raise ApiError("VALIDATION_FAILED", "A key is there more than once")
    if sum(sum(sizes(it)) for it in items) > MAX_BULK_BYTES:
        raise ApiError("LIMIT_EXCEEDED", f"No more than {MAX_BULK_BYTES} bytes at once")
    if len({it.schemaVersion for it in items if it.schemaVersion}) > 1:
        raise ApiError("VALIDATION_FAILED", "All items must have the same schemaVersion")


def check_item(item: Item) -> None:
    """Refuse what no record may be. Raises ApiError."""
    check_key(item.key)
    if item.ttlSeconds and not MIN_TTL_SECONDS <= item.ttlSeconds <= MAX_TTL_SECONDS:
        raise ApiError(
            "LIMIT_EXCEEDED",
            f"ttlSeconds must be from {MIN_TTL_SECONDS} to {MAX_TTL_SECONDS}",
        )
    value, metadata = sizes(item)
    if value > MAX_VALUE_BYTES:
        raise ApiError("LIMIT_EXCEEDED", f"A value has at most {MAX_VALUE_BYTES} bytes")
    if metadata > MAX_METADATA_BYTES:
        raise ApiError("LIMIT_EXCEEDED", f"Metadata has at most {MAX_METADATA_BYTES} bytes")


def sizes(item: Item) -> tuple[int, int]:
    """Bytes of the value and of the metadata."""
    return len(dump_json(item.value)), len(dump_json(item.metadata))


def check_schema(schema: Any, values: Iterable[Any]) -> None:
    """Refuse the first value that does not fit. Raises ApiError, SchemaError for a bad schema."""
    from jsonschema.validators import Draft7Validator, validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    make = validator_for(schema, default=Draft7Validator)
    make.check_schema(schema)
    validator = make(schema, registry=REGISTRY)
    for value in values:
        errors = [
            {
                "instancePath": _pointer("", error.absolute_path),
                "schemaPath": _pointer("#", error.absolute_schema_path),
                "keyword": error.validator,
                "message": error.message,
            }
            for error in validator.iter_errors(value)
        ]
        if errors:
            raise ApiError("VALIDATION_FAILED", "The value does not fit the schema", errors)


def _pointer(start: str, path: Iterable[str | int]) -> str:
    parts = (str(it).replace("~", "~0").replace("/", "~1") for it in path)
    return "/".join((start, *parts))
