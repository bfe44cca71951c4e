"""The operations on stored records, as their bodies must look."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from algaenv.gateway.internal import jsontext
from algaenv.gateway.internal.refusal import Refused
from algaenv.gateway.internal.storage import limits


def _within(at_least: int, at_most: int) -> AfterValidator:
    def check(text: str) -> str:
        if not at_least <= jsontext.units(text) <= at_most:
            raise ValueError(f"must have {at_least} to {at_most} characters")
        return text

    return AfterValidator(check)


Namespace = Annotated[str, _within(1, 128)]
Key = Annotated[str, _within(1, 256)]
Positive = Annotated[int, Field(gt=0)]
Revision = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    """Strict about types, blind to fields it does not know. A null is not a missing field."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Operation(Shape):
    """What every body has."""

    operation: Literal["put", "get", "list", "delete", "bulkPut"]
    namespace: Namespace


class Item(Shape):
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


class Put(Operation, Item):
    """Write one record."""


class BulkPut(Operation):
    """Write several records, all or none."""

    items: Annotated[list[Item], Field(min_length=1)]


class One(Operation):
    """Read or delete one record."""

    key: Key
    ifRevision: Revision = -1


class List(Operation):
    """Read a page of records."""

    limit: Annotated[int, Field(ge=1, le=100)] = 25
    cursor: str = ""
    keyPrefix: Annotated[str, _within(0, 256)] = ""
    includeValues: StrictBool = False
    includeMetadata: StrictBool = False


def check_key(key: str) -> None:
    """Refuse what no key may hold. Raises Refused."""
    if "/" in key:
        raise Refused("VALIDATION_FAILED", "A key must not contain a slash")


def check_bulk(items: list[Item]) -> None:
    """Refuse what holds for several records together. Raises Refused."""
    if len(items) > limits.BULK_ITEMS:
        raise Refused("LIMIT_EXCEEDED", f"No more than {limits.BULK_ITEMS} items at once")
    if len({it.key for it in items}) < len(items):
        raise Refused("VALIDATION_FAILED", "A key is there more than once")
    if sum(sum(sizes(it)) for it in items) > limits.BULK_BYTES:
        raise Refused("LIMIT_EXCEEDED", f"No more than {limits.BULK_BYTES} bytes at once")
    if len({it.schemaVersion for it in items if it.schemaVersion}) > 1:
        raise Refused("VALIDATION_FAILED", "All items must have the same schemaVersion")


def check_item(item: Item) -> None:
    """Refuse what no record may be. Raises Refused."""
    check_key(item.key)
    if item.ttlSeconds and not limits.SHORTEST_TTL <= item.ttlSeconds <= limits.LONGEST_TTL:
        raise Refused(
            "LIMIT_EXCEEDED",
            f"ttlSeconds must be from {limits.SHORTEST_TTL} to {limits.LONGEST_TTL}",
        )
    value, metadata = sizes(item)
    if value > limits.VALUE_BYTES:
        raise Refused("LIMIT_EXCEEDED", f"A value has at most {limits.VALUE_BYTES} bytes")
    if metadata > limits.METADATA_BYTES:
        raise Refused("LIMIT_EXCEEDED", f"Metadata has at most {limits.METADATA_BYTES} bytes")


def sizes(item: Item) -> tuple[int, int]:
    """Bytes of the value and of the metadata."""
    return len(jsontext.write(item.value)), len(jsontext.write(item.metadata))
