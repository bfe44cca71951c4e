"""Specifications of content resources: what a driver needs to create a bucket, bundle or rows."""

from __future__ import annotations

from collections.abc import Mapping

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest
from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import Problem
from algaenv.model.resource import Json
from algaenv.model.secret import Secret


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A bucket of the object store."""

    bucket: str


@dataclass(frozen=True, slots=True)
class SchemaSpec:
    """Alga's extension tables, in a managed database."""


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """A row of `tenants`, in a managed database."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """One bundle object. Its address is `bundle/<extension>@<short digest>`.

    `archive` is the file to upload.
    """

    extension: str
    bucket: str
    key: str
    tenant_id: str
    registry_id: str
    digest: Digest
    size: int
    archive: str


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    """All the rows of one extension of one tenant, written in one transaction.

    Its address is `release/<extension>`. `registry_id` is the id the row has, or will get.
    """

    extension: str
    publisher: str
    manifest: Manifest
    digest: Digest
    size: int
    storage_url: str
    tenant_id: str
    registry_id: str
    granted: tuple[str, ...]
    config: Mapping[str, Json]
    secrets: Mapping[str, Secret]
    enabled: bool
    managed: bool
    """True: the database is managed. False: `down` removes only install rows."""


@dataclass(frozen=True, slots=True)
class SqlSeedSpec:
    """The statements of one file. `file` is how problems name it."""

    file: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ObjectSeedSpec:
    """Objects from the files of a directory. `files` maps relative paths to SHA-256, lower hex."""

    source: str
    bucket: str
    prefix: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RecordSeedSpec:
    """Records in the storage of an install: namespace → key → value."""

    extension: str
    tenant_id: str
    registry_id: str
    records: Mapping[str, Mapping[str, Json]]


@dataclass(frozen=True, slots=True)
class ContentIds:
    """Ids that are read from the database: ids of existing rows win over derived ones.

    `registry` maps the extension's key in the spec to its registry id. `problems` are what an
    external database lacks; with any of them no content is planned in it.
    """

    tenant_id: str
    tenant_name: str
    registry: Mapping[str, str]
    problems: tuple[Problem, ...] = ()
    installs: Mapping[str, str] = field(default_factory=dict)
    """Extension key → install id, for those that are installed."""
