"""`seed` of a spec: what the database and the store begin with."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, JsonValue, Tag

from algaenv.spec.nodes import plain_json
from algaenv.spec.types import (
    MAPPING,
    TEXT,
    BucketName,
    ExtensionName,
    MatchesPattern,
    SpecModel,
    Text,
    by_kind,
)

_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]+"
Prefix = Annotated[
    str,
    MatchesPattern(
        rf"(?:{_PART}(?:/{_PART})*/?)?",
        "spec-seed-prefix",
        "a prefix of keys holds names between single slashes, and begins with no slash",
        "write it like demo/documents/",
    ),
]
Namespace = Annotated[
    str,
    MatchesPattern(
        r"[^\x00]{1,128}",
        "spec-seed-record",
        "the namespace of a record has 1 to 128 characters",
    ),
]
RecordKey = Annotated[
    str,
    MatchesPattern(
        r"[^/\x00]{1,256}",
        "spec-seed-record",
        "the key of a record has 1 to 256 characters, and no slash among them",
    ),
]
Values = dict[RecordKey, Annotated[JsonValue, BeforeValidator(plain_json)]]
Records = Annotated[
    Annotated[Text, Tag(TEXT)] | Annotated[Values, Tag(MAPPING)],
    by_kind("a mapping of keys to values, or the path of a JSON file, is needed", TEXT, MAPPING),
]


class ObjectSeedSpec(SpecModel):
    """A directory whose files become objects."""

    source: Text = Field(description="The directory; relative to this spec's directory.")
    bucket: BucketName | None = Field(
        default=None, description="A bucket of `store`. Default: that of the bundles."
    )
    prefix: Prefix = Field(
        default="", description="What the keys of the objects begin with, before the path."
    )


class SeedSpec(SpecModel):
    """What the environment begins with."""

    sql: list[Text] = Field(
        default_factory=list,
        description="Files of SQL statements, applied in this order after the rows of extensions, "
        "each in one transaction.",
    )
    objects: list[ObjectSeedSpec] = Field(
        default_factory=list, description="Directories whose files become objects of the store."
    )
    records: dict[ExtensionName, dict[Namespace, Records]] = Field(
        default_factory=dict,
        description="Records in the storage of an extension: extension → namespace → key → value; "
        "in place of keys and values the path of a JSON file with an object of them.",
    )
