"""What Alga's own tools write: tenants, and the rows of its development installer."""

from __future__ import annotations

import json
import uuid
from typing import Any, Protocol

from algaenv.drivers.database import schema
from tests.servers import Database, Sql

OZ = "51bbbfe5-0720-4d9b-b3e5-b5b43e441a52"


def migrate(database: Database) -> None:
    """The tables as Alga's migrations leave them."""
    database.sql(schema.script())


def tenant(database: Database, name: str, id_: str | None = None, product: str = "psa") -> str:
    """A row of `tenants` as the seeds make it; its id."""
    return add_tenant(database.sql, name, id_, product)


def add_tenant(sql: Sql, name: str, id_: str | None = None, product: str = "psa") -> str:
    """The same over a connection that is there."""
    id_ = id_ or str(uuid.uuid4())
    sql(
        "INSERT INTO tenants (tenant, client_name, email, product_code)"
        " VALUES (%s, %s, 'oz@example.com', %s)",
        id_,
        name,
        product,
    )
    return id_


class Queried(Protocol):
    """Whatever runs statements in the database of the rows."""

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        ...


def install(
    database: Queried,
    tenant_id: str,
    *,
    publisher: str = "Example",
    name: str = "com.example.hello",
    version: str = "0.1.0",
    digest: str = "sha256:" + "1" * 64,
) -> str:
    """The rows of the development installer, column by column; the install's id.

    Other than ours it leaves the endpoints out, grants nothing and writes no configuration.
    """

    def derived(*parts: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, "/".join(parts)))

    ((registry,),) = database.sql(
        "INSERT INTO extension_registry (id, publisher, name, display_name, description)"
        " VALUES (%s, %s, %s, %s, '') ON CONFLICT (publisher, name) DO UPDATE SET"
        " display_name = excluded.display_name RETURNING id::text",
        derived(publisher, name),
        publisher,
        name,
        name,
    )
    ((version_id,),) = database.sql(
        "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry, api, ui,"
        " capabilities, api_endpoints) VALUES (%s, %s, %s, 'wasm-js@1', 'handlers/index.wasm',"
        " '{}', %s, '[]', '[]') ON CONFLICT (registry_id, version) DO UPDATE SET"
        " ui = excluded.ui RETURNING id::text",
        derived(publisher, name, version),
        registry,
        version,
        json.dumps({"type": "iframe", "entry": "ui/index.html"}),
    )
    database.sql(
        "INSERT INTO extension_bundle (id, version_id, content_hash, storage_url)"
        " VALUES (%s, %s, %s, 'file://./hello') ON CONFLICT (version_id, content_hash)"
        " DO UPDATE SET storage_url = excluded.storage_url",
        derived(publisher, name, version, digest),
        version_id,
        digest,
    )
    ((install_id,),) = database.sql(
        "INSERT INTO tenant_extension_install (id, tenant_id, registry_id, version_id,"
        " granted_caps, config, is_enabled, status, runner_domain, runner_status)"
        " VALUES (%s, %s, %s, %s, '[]', '{}', true, 'enabled', NULL, '{\"state\": \"ready\"}')"
        " ON CONFLICT (tenant_id, registry_id) DO UPDATE SET version_id = excluded.version_id,"
        " is_enabled = excluded.is_enabled, status = excluded.status,"
        " runner_status = excluded.runner_status RETURNING id::text",
        derived(tenant_id, publisher, name),
        tenant_id,
        registry,
        version_id,
    )
    return str(install_id)
