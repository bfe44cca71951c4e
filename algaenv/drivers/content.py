"""The object store and the database as one place that holds content: look at it, or change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from algaenv.bundle import layout
from algaenv.bundle.layout import BundleKey
from algaenv.drivers import catalog_guard, schema
from algaenv.drivers.catalog import Catalog
from algaenv.drivers.catalog_rows import NO_ROWS, Install, Rows, rows_of
from algaenv.drivers.catalog_shape import BUNDLES, ENDPOINTS, INSTALLS, NEEDED
from algaenv.drivers.content_look import ContentLook
from algaenv.drivers.objects import Bucket, Found, Store, marks_prefix, parse_mark_key
from algaenv.drivers.tenants import Tenant, TenantHands, asked_of, chosen, tenants_of
from algaenv.model.content import ContentIds
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem
from algaenv.plan.desired import predicted_ids
from algaenv.reconcile.protocols import ContentHost, ResourceDriver

NO_PREFIX = "algaenv/"
"""Nothing but marks stands below it: a listing that tells whether the bucket is there."""


class Content(ContentHost):
    """Store and database of one lock. Nothing is connected to before it is needed.

    `variables` are those of the shell by which libpq is told more about an external database.
    """

    def __init__(self, lock: Lock, variables: Sequence[str] = ()) -> None:
        self._environment = lock.environment.id
        self._catalog = Catalog.of(lock, variables)
        self._store = Store(
            endpoint=f"http://127.0.0.1:{lock.ports.store}",
            access_key=lock.credentials.access_key,
            secret_key=lock.credentials.secret_key,
            region=lock.intent.store.region,
        )

    def snapshot(self, lock: Lock) -> ContentLook:
        """One connection with three statements, and one listing for each bucket and tenant.

        Beside an external database one more, of the marks of our uploads.

        Raises Unavailable when a host does not answer, Refused when it does not let us in.
        """
        managed, predicted = self._catalog.managed, predicted_ids(lock)
        answer = self._catalog.read(_question(lock, predicted, managed=managed))
        live = answer["columns"]
        # Without the two tables there are surely no rows; with unreadable ones nobody knows.
        rows_known = answer["rows"] is not None or not {INSTALLS, BUNDLES} & set(live)
        rows = NO_ROWS
        if answer["rows"] is not None:
            rows = rows_of(answer["rows"], with_endpoints=ENDPOINTS in live)
        tenant = chosen(lock.intent, predicted, tenants_of(answer["tenants"]))
        lacking = None if managed else catalog_guard.lacking(live)
        ids = _ids(lock, predicted, rows, tenant, lacking)
        marks = None if managed else self._marks(lock)
        return ContentLook(
            environment=self._environment,
            key=lock.credentials.fingerprint_key,
            bucket=lock.intent.store.bucket,
            ids=ids,
            rows=rows,
            tenant=_row(tenant, answer["tenants"]),
            columns=live,
            objects=self._objects(lock, ids, rows),
            marks=marks,
            rows_known=rows_known,
        )

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """Kind → hands."""
        from algaenv.drivers.buckets import BucketHands
        from algaenv.drivers.bundles import BundleHands
        from algaenv.drivers.releases import ReleaseHands

        return {
            "bucket": BucketHands(self._store),
            "schema": schema.SchemaHands(self._catalog),
            "tenant": TenantHands(self._catalog),
            "bundle": BundleHands(self._store, self._catalog, self._environment),
            "release": ReleaseHands(self._catalog, self._environment),
        }

    def _objects(
        self, lock: Lock, ids: ContentIds, rows: Rows
    ) -> Mapping[str, tuple[Found, ...] | None]:
        """Bucket → the bundles in it; None where the bucket is missing."""
        ours = [it.home[0] for it in rows.installs if it.made_by(self._environment)]
        main = Bucket(self._store, lock.intent.store.bucket)
        found: tuple[Found, ...] | None = ()
        for tenant in sorted({ids.tenant_id, *ours}):
            listed = main.list(layout.extensions_prefix(tenant))
            found = None if listed is None or found is None else (*found, *listed)
        others = [name for name in lock.intent.store.buckets if name != main.name]
        return {
            main.name: found,
            **{name: Bucket(self._store, name).list(NO_PREFIX) for name in others},
        }

    def _marks(self, lock: Lock) -> frozenset[BundleKey]:
        """The bundles that this environment has uploaded beside a database of others."""
        listed = Bucket(self._store, lock.intent.store.bucket).list(marks_prefix(self._environment))
        found = (parse_mark_key(self._environment, it.key) for it in listed or ())
        return frozenset(it for it in found if it is not None)


def _question(lock: Lock, predicted: ContentIds, *, managed: bool) -> dict[str, Any]:
    return {
        "environment": lock.environment.id,
        "tables": list(schema.tables()) if managed else [*NEEDED, ENDPOINTS],
        "tenant": asked_of(lock.intent, predicted),
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
    rows: Rows,
    tenant: Tenant | Problem,
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
    installs |= {name: it.id for it in rows.installs if (name := _marked(it, lock)) is not None}
    return ContentIds(
        tenant_id=tenant.id,
        tenant_name=tenant.name,
        registry=registry,
        installs=installs,
    )


def _marked(install: Install, lock: Lock) -> str | None:
    """The extension that the mark of one of our installs names, wanted by the lock or not."""
    if install.mark is None or not install.made_by(lock.environment.id):
        return None
    return install.mark.address.partition("/")[2]


def _row(tenant: Tenant | Problem, answer: Any) -> Tenant | None:
    """The row of the chosen tenant as it is, under its present name; None before it is made."""
    if isinstance(tenant, Problem):
        return None
    return next((it for it in tenants_of(answer) if it.id == tenant.id), None)
