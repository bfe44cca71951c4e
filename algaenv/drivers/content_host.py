"""The object store and the database as one host of content: a snapshot, and a driver a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from algaenv.bundle import layout
from algaenv.bundle.layout import BundleKey
from algaenv.bundle.value import dataclass
from algaenv.drivers.content_snapshot import ContentSnapshot
from algaenv.drivers.database import schema
from algaenv.drivers.database.kept_connection import KeptConnection
from algaenv.drivers.database.queries import (
    BUNDLE_TABLE,
    ENDPOINT_TABLE,
    INSTALL_TABLE,
    REQUIRED_COLUMNS,
    SEED_TABLE,
)
from algaenv.drivers.database.rows import EMPTY_ROWS, InstallRow, RowSet, parse_rows
from algaenv.drivers.database.seed_marks import (
    SeedMark,
    observe_seeds,
    parse_mark,
    seeded_places,
)
from algaenv.drivers.database.session import DatabaseSession
from algaenv.drivers.database.tenants import (
    TenantDriver,
    TenantRow,
    choose_tenant,
    parse_tenants,
    tenant_query,
)
from algaenv.drivers.object_store import (
    Buckets,
    StoredObject,
    StoreEndpoint,
    marks_prefix,
    parse_mark_key,
)
from algaenv.model import kind
from algaenv.model.content import ContentIds
from algaenv.model.kind import Address
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem
from algaenv.plan.desired import predicted_ids
from algaenv.reconcile.protocols import ContentHost, FetchedBundle, ResourceDriver

EMPTY_LISTING_PREFIX = "algaenv/"
"""Only marks are below it: a cheap listing that shows whether the bucket exists."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What stays open between runs: the clients of the store, and a connection to the database."""

    buckets: Buckets
    database: KeptConnection | None = None


class StoreAndDatabase(ContentHost):
    """The object store and the database of one lock. Nothing is connected to before it is needed.

    `variables` are those of the shell that libpq reads beside the address of an external database;
    `writes` when something is sure to be written, so that one library is imported instead of two.
    `clients` are shared by the hosts of several runs.
    """

    def __init__(
        self,
        lock: Lock,
        variables: Sequence[str] = (),
        clients: Clients | None = None,
        *,
        writes: bool = False,
    ) -> None:
        self._environment = lock.environment.id
        clients = clients or Clients(Buckets())
        self._buckets = clients.buckets
        self._database = DatabaseSession.of(lock, variables, clients.database)
        self._writes = writes
        self._store = StoreEndpoint(
            endpoint=lock.urls.store,
            access_key=lock.credentials.access_key,
            secret_key=lock.credentials.secret_key,
            region=lock.intent.store.region,
        )

    def snapshot(self, lock: Lock) -> ContentSnapshot:
        """One connection with three statements, and one listing for each bucket and tenant.

        Beside an external database one more, of the marks of our uploads.

        Raises Unavailable when a host does not answer, Refused when it does not let us in.
        """
        managed, predicted = self._database.managed, predicted_ids(lock)
        answer = self._database.read(
            _snapshot_query(lock, predicted, managed=managed), fast=not self._writes
        )
        live = answer["columns"]
        # Without the two tables there are no rows; with unreadable ones the rows are unknown.
        rows_known = answer["rows"] is not None or not {INSTALL_TABLE, BUNDLE_TABLE} & set(live)
        rows = EMPTY_ROWS
        if answer["rows"] is not None:
            rows = parse_rows(answer["rows"], with_endpoints=ENDPOINT_TABLE in live)
        tenant = choose_tenant(lock.intent, predicted, parse_tenants(answer["tenants"]))
        lacking = None if managed else schema.schema_problem(live)
        ids = _ids(lock, predicted, rows, tenant, lacking)
        marks = None if managed else self._marks(lock)
        seeds = tuple(map(parse_mark, answer["seeds"]))
        return ContentSnapshot(
            environment=self._environment,
            key=lock.credentials.fingerprint_key,
            bucket=lock.intent.store.bucket,
            ids=ids,
            rows=rows,
            tenant=_tenant_row(tenant, answer["tenants"]),
            columns=live,
            objects=self._objects(lock, ids, rows),
            marks=marks,
            rows_known=rows_known,
            seeds=observe_seeds(seeds, self._seeded(seeds)) if seeds else {},
        )

    def find_tenant(self, lock: Lock) -> TenantRow | Problem:
        """The tenant that the lock means, or why there is none. The store is not asked.

        Raises as `snapshot`.
        """
        managed, predicted = self._database.managed, predicted_ids(lock)
        answer = self._database.read(_snapshot_query(lock, predicted, managed=managed), fast=True)
        lacking = None if managed else schema.schema_problem(answer["columns"])
        return lacking or choose_tenant(lock.intent, predicted, parse_tenants(answer["tenants"]))

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """Kind → driver."""
        from algaenv.drivers.database.record_seeds import RecordSeedDriver
        from algaenv.drivers.database.releases import ReleaseDriver
        from algaenv.drivers.database.sql_seeds import SqlSeedDriver
        from algaenv.drivers.seed_objects import ObjectSeedDriver
        from algaenv.drivers.store_content import BucketDriver, BundleDriver

        return {
            kind.BUCKET.name: BucketDriver(self._store),
            kind.SCHEMA.name: schema.SchemaDriver(self._database),
            kind.TENANT.name: TenantDriver(self._database),
            kind.BUNDLE.name: BundleDriver(
                self._store, self._database, self._environment, self._buckets
            ),
            kind.RELEASE.name: ReleaseDriver(self._database, self._environment),
            kind.SEED_SQL.name: SqlSeedDriver(self._database),
            kind.SEED_OBJECTS.name: ObjectSeedDriver(self._store, self._database, self._buckets),
            kind.SEED_RECORDS.name: RecordSeedDriver(self._database),
        }

    def fetch(self, handle: str, directory: Path) -> FetchedBundle:
        """In one request."""
        from algaenv.drivers.kept_bundles import fetch_bundle

        return fetch_bundle(self._store, handle, directory)

    def _objects(
        self, lock: Lock, ids: ContentIds, rows: RowSet
    ) -> Mapping[str, tuple[StoredObject, ...] | None]:
        """Bucket → the bundles in it; None where the bucket is missing."""
        ours = [it.extension_key[0] for it in rows.installs if it.made_by(self._environment)]
        main = self._buckets.get(self._store, lock.intent.store.bucket)
        found: tuple[StoredObject, ...] | None = ()
        for tenant in sorted({ids.tenant_id, *ours}):
            listed = main.list(layout.extensions_prefix(tenant))
            found = None if listed is None or found is None else (*found, *listed)
        others = [name for name in lock.intent.store.buckets if name != main.name]
        return {
            main.name: found,
            **{it: self._buckets.get(self._store, it).list(EMPTY_LISTING_PREFIX) for it in others},
        }

    def _seeded(self, marks: Sequence[SeedMark]) -> Mapping[Address, Sequence[StoredObject]]:
        return {
            address: self._buckets.get(self._store, bucket).list(prefix) or ()
            for address, bucket, prefix in seeded_places(marks)
        }

    def _marks(self, lock: Lock) -> frozenset[BundleKey]:
        """The bundles that this environment has uploaded beside a database of others."""
        bucket = self._buckets.get(self._store, lock.intent.store.bucket)
        listed = bucket.list(marks_prefix(self._environment))
        found = (parse_mark_key(self._environment, it.key) for it in listed or ())
        return frozenset(it for it in found if it is not None)


def _snapshot_query(lock: Lock, predicted: ContentIds, *, managed: bool) -> dict[str, Any]:
    return {
        "environment": lock.environment.id,
        "tables": [*schema.tables(), SEED_TABLE]
        if managed
        else [*REQUIRED_COLUMNS, ENDPOINT_TABLE],
        "tenant": tenant_query(lock.intent, predicted),
        "whole": managed,
        "extensions": [
            {
                "publisher": it.publisher,
                "name": it.manifest.name,
                "version": it.manifest.version,
            }
            for it in lock.extensions
        ],
    }


def _ids(
    lock: Lock,
    predicted: ContentIds,
    rows: RowSet,
    tenant: TenantRow | Problem,
    lacking: Problem | None,
) -> ContentIds:
    """An existing row's id wins over the one derived from names."""
    registry = {
        it.name: rows.registries.get((it.publisher, it.manifest.name), predicted.registry[it.name])
        for it in lock.extensions
    }
    if lacking is not None:
        return ContentIds(predicted.tenant_id, predicted.tenant_name, registry, (lacking,))
    if isinstance(tenant, Problem):
        return ContentIds(predicted.tenant_id, predicted.tenant_name, registry, (tenant,))
    wanted = {name: rows.installed(tenant.id, id_) for name, id_ in registry.items()}
    installs = {name: it.id for name, it in wanted.items() if it is not None}
    installs |= {
        name: it.id for it in rows.installs if (name := _marked_extension(it, lock)) is not None
    }
    return ContentIds(
        tenant_id=tenant.id,
        tenant_name=tenant.name,
        registry=registry,
        installs=installs,
    )


def _marked_extension(install: InstallRow, lock: Lock) -> str | None:
    """The extension that the mark of one of our installs names, wanted by the lock or not."""
    if install.mark is None or not install.made_by(lock.environment.id):
        return None
    return install.mark.address.partition("/")[2]


def _tenant_row(tenant: TenantRow | Problem, answer: Any) -> TenantRow | None:
    """The row of the chosen tenant as it is, under its present name; None before it is made."""
    if isinstance(tenant, Problem):
        return None
    return next((it for it in parse_tenants(answer) if it.id == tenant.id), None)
