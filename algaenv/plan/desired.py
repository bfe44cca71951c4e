"""What should be inside the hosts: buckets, tables, a tenant, bundles and their rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from algaenv.bundle import layout
from algaenv.bundle.manifest.model import Manifest
from algaenv.model import kind
from algaenv.model.content import (
    BucketSpec,
    BundleSpec,
    ContentIds,
    ReleaseSpec,
    SchemaSpec,
    TenantSpec,
)
from algaenv.model.intent import ManagedDatabase
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.probe import PageProbe
from algaenv.model.resource import Inputs, Json, Resource
from algaenv.model.secret import Secret, keyed_digest
from algaenv.plan.seeds import desired_seeds

SCHEMA = kind.SCHEMA.address("extensions")
SCHEMA_EDITION = "2026-08"
"""Changes whenever the tables of a managed database do."""
TENANT = kind.TENANT.address("main")


def predicted_ids(lock: Lock) -> ContentIds:
    """The ids an empty managed database will end up with."""
    wanted = lock.intent.tenant
    name = wanted.name or lock.intent.name
    tenant = wanted.id or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"tenant/{lock.intent.name}/{name}"))
    return ContentIds(
        tenant_id=tenant,
        tenant_name=name,
        registry={
            extension.name: layout.registry_id(extension.publisher, extension.manifest.name)
            for extension in lock.extensions
        },
    )


def release_inputs(body: ReleaseSpec, key: Secret) -> Inputs:
    """What the rows of a release say, field by field, in the author's words.

    The driver reads the live rows back into the same fields, so a drift names them too.
    """
    manifest: Manifest = body.manifest
    inputs: dict[str, Json] = {
        "manifest version": manifest.version,
        "bundle": body.digest.prefixed,
        "bundle size": body.size,
        "bundle address": body.storage_url,
        "tenant": body.tenant_id,
        "registry id": body.registry_id,
        "manifest runtime": manifest.runtime,
        "main entry": manifest.main_entry(),
        "ui": manifest.ui_row(),
        "endpoints": [dict(row) for row in manifest.endpoints_rows()],
        "capabilities": list(manifest.capabilities),
        "granted": list(body.granted),
        "enabled": body.enabled,
    }
    inputs |= {f"config.{name}": value for name, value in body.config.items()}
    inputs |= {f"secrets.{name}": keyed_digest(value, key) for name, value in body.secrets.items()}
    return inputs


def bundle_address(extension: str, digest_short: str) -> Address:
    """`bundle/<extension>@<first 12 of the digest>`."""
    return kind.BUNDLE.address(f"{extension}@{digest_short}")


def handler_address(extension: str, digest_short: str) -> Address:
    """`handler/<extension>@<first 12 of the digest>`."""
    return kind.HANDLER.address(f"{extension}@{digest_short}")


def desired_content(
    lock: Lock, ids: ContentIds, hosts: Mapping[str, Address]
) -> tuple[Resource, ...]:
    """All content of `lock`, given the ids; `hosts` are the addresses it lives in."""
    managed = isinstance(lock.intent.database, ManagedDatabase)
    store, database = hosts.get("store"), hosts.get("database")
    resources = [_bucket(name, store) for name in lock.intent.store.buckets]
    rows_need: tuple[Address, ...] = ()
    if managed:
        resources += [_schema(database), _tenant(ids, database)]
        rows_need = (SCHEMA, TENANT)
    for extension in lock.extensions:
        bundle = _bundle(lock, ids, extension, hosts.get("runner"))
        resources += [bundle, _release(lock, ids, extension, rows_need, managed=managed)]
    if managed:
        releases = (kind.RELEASE.address(it.name) for it in lock.extensions)
        resources += desired_seeds(lock, ids, (*rows_need, *releases), _needs(store))
    return tuple(resources)


def page_url(lock: Lock, ids: ContentIds, extension: LockedExtension) -> str:
    """The page of an extension, asked of the runner directly."""
    path = layout.page_path(ids.registry[extension.name], extension.digest, ids.tenant_id)
    return f"{lock.urls.runner}{path}"


def _needs(*addresses: Address | None) -> tuple[Address, ...]:
    return tuple(address for address in addresses if address is not None)


def _bucket(name: str, store: Address | None) -> Resource:
    return Resource(
        address=kind.BUCKET.address(name),
        tier=Tier.CONTENT,
        inputs={"bucket": name},
        body=BucketSpec(name),
        needs=_needs(store),
        retained=True,
    )


def _schema(database: Address | None) -> Resource:
    return Resource(
        address=SCHEMA,
        tier=Tier.CONTENT,
        inputs={"edition": SCHEMA_EDITION},
        body=SchemaSpec(),
        needs=_needs(database),
        retained=True,
    )


def _tenant(ids: ContentIds, database: Address | None) -> Resource:
    return Resource(
        address=TENANT,
        tier=Tier.CONTENT,
        inputs={"id": ids.tenant_id, "name": ids.tenant_name},
        body=TenantSpec(ids.tenant_id, ids.tenant_name),
        needs=_needs(database, SCHEMA),
        retained=True,
    )


def _bundle(
    lock: Lock, ids: ContentIds, extension: LockedExtension, runner: Address | None
) -> Resource:
    bucket = lock.intent.store.bucket
    registry = ids.registry[extension.name]
    key = layout.bundle_key(ids.tenant_id, registry, extension.digest)
    has_page = extension.page_sha256 is not None
    return Resource(
        address=bundle_address(extension.name, extension.digest.short),
        tier=Tier.CONTENT,
        inputs={"bucket": bucket, "key": key, "size": extension.size},
        body=BundleSpec(
            extension=extension.name,
            bucket=bucket,
            key=key,
            tenant_id=ids.tenant_id,
            registry_id=registry,
            digest=extension.digest,
            size=extension.size,
            archive=str(extension.archive),
        ),
        needs=_needs(kind.BUCKET.address(bucket), runner),
        # The runner answers for a bundle before any row points to it. Without a UI it answers
        # 404 only after it has fetched and verified the archive.
        probe=PageProbe(
            url=page_url(lock, ids, extension),
            status=200 if has_page else 404,
            body_sha256=extension.page_sha256,
        ),
    )


def _release(
    lock: Lock,
    ids: ContentIds,
    extension: LockedExtension,
    rows_need: tuple[Address, ...],
    *,
    managed: bool,
) -> Resource:
    intent = extension.intent
    registry = ids.registry[extension.name]
    key = layout.bundle_key(ids.tenant_id, registry, extension.digest)
    granted = intent.capabilities
    body = ReleaseSpec(
        extension=extension.name,
        publisher=extension.publisher,
        manifest=extension.manifest,
        digest=extension.digest,
        size=extension.size,
        storage_url=f"{lock.urls.store}/{lock.intent.store.bucket}/{key}",
        tenant_id=ids.tenant_id,
        registry_id=registry,
        granted=extension.manifest.known_capabilities() if granted is None else granted,
        config=intent.config,
        secrets=intent.secrets,
        enabled=intent.enabled,
        managed=managed,
    )
    return Resource(
        address=kind.RELEASE.address(extension.name),
        tier=Tier.CONTENT,
        inputs=release_inputs(body, lock.credentials.fingerprint_key),
        body=body,
        needs=(
            *rows_need,
            bundle_address(extension.name, extension.digest.short),
            # Only in a plan that prewarms it: one that cannot run never replaces one that does.
            handler_address(extension.name, extension.digest.short),
        ),
    )
