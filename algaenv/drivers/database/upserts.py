"""The statements that write the rows of a release, one function a table.

Ids handed in are candidates: a row that already exists keeps its own, and that one is returned.
Timestamps are part of the inserted row and taken over by `excluded`: for the tables that Citus
distributes, it refuses every function on the right of DO UPDATE. For the same reason no statement
that writes joins two tables.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from algaenv.bundle import layout
from algaenv.bundle.manifest import capabilities
from algaenv.bundle.value import dataclass
from algaenv.drivers.database.release_checks import INLINE_ALGORITHM, encode_secrets
from algaenv.model.content import ReleaseSpec
from algaenv.model.resource import Json

if TYPE_CHECKING:
    from datetime import datetime

    from algaenv.drivers.database.session import Connection


_WITH_ID = {
    "extension_version": "SELECT 1 FROM extension_version WHERE id = %s",
    "extension_bundle": "SELECT 1 FROM extension_bundle WHERE id = %s",
    "tenant_extension_install": "SELECT 1 FROM tenant_extension_install WHERE id = %s",
}


@dataclass(frozen=True, slots=True)
class UpsertedRow:
    """A row that is there now; `made` if it was not before."""

    id: str
    made: bool


@dataclass(frozen=True, slots=True)
class ReleaseWriter:
    """Writes within one transaction; `now` is the database's clock."""

    connection: Connection
    body: ReleaseSpec
    now: datetime

    def rename(self, registry: str) -> None:
        """Give a registry row of ours back the publisher and name that it was made with."""
        body = self.body
        self._run(
            "UPDATE extension_registry SET publisher = %(publisher)s, name = %(name)s,"
            " updated_at = %(now)s WHERE id = %(id)s",
            {"id": registry, "publisher": body.publisher, "name": body.manifest.name},
        )

    def registry(self) -> UpsertedRow:
        """Name and publisher; what others wrote on an existing row stays."""
        body = self.body
        return self._upsert(
            "INSERT INTO extension_registry"
            " (id, publisher, name, display_name, description, created_at, updated_at)"
            " VALUES (%(id)s, %(publisher)s, %(name)s, %(name)s, '', %(now)s, %(now)s)"
            " ON CONFLICT (publisher, name) DO UPDATE SET name = excluded.name"
            " RETURNING id::text, xmax = 0",
            {"id": body.registry_id, "publisher": body.publisher, "name": body.manifest.name},
        )

    def version(self, registry: str) -> UpsertedRow:
        """The manifest, as Alga's publish step stores it."""
        manifest = self.body.manifest
        derived = layout.version_id(self.body.publisher, manifest.name, manifest.version)
        ui = manifest.ui_row()
        return self._upsert(
            "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry, api,"
            " ui, capabilities, api_endpoints, created_at)"
            " VALUES (%(id)s, %(registry)s, %(version)s, %(runtime)s, %(entry)s, '{}',"
            " %(ui)s::jsonb, %(capabilities)s::jsonb, %(endpoints)s::jsonb, %(now)s)"
            " ON CONFLICT (registry_id, version) DO UPDATE SET runtime = excluded.runtime,"
            " main_entry = excluded.main_entry, api = excluded.api, ui = excluded.ui,"
            " capabilities = excluded.capabilities, api_endpoints = excluded.api_endpoints"
            " RETURNING id::text, xmax = 0",
            {
                "id": self._candidate("extension_version", derived),
                "registry": registry,
                "version": manifest.version,
                "runtime": manifest.runtime,
                "entry": manifest.main_entry(),
                "ui": None if ui is None else json.dumps(ui),
                "capabilities": json.dumps(list(manifest.capabilities)),
                "endpoints": json.dumps(manifest.endpoints_rows()),
            },
        )

    def bundle(self, version: str) -> UpsertedRow:
        """The build, as the one newest of its version.

        Alga serves the build with the greatest `created_at`, takes NULL for the greatest of all,
        and breaks ties differently in different places; so none of these may be left.
        """
        body, manifest = self.body, self.body.manifest
        derived = layout.bundle_id(body.publisher, manifest.name, manifest.version, body.digest)
        values = {
            "id": self._candidate("extension_bundle", derived),
            "version": version,
            "hash": body.digest.prefixed,
            "url": body.storage_url,
            "size": body.size,
        }
        self._run(
            "UPDATE extension_bundle SET created_at = timestamptz 'epoch'"
            " WHERE version_id = %(version)s AND content_hash <> %(hash)s"
            " AND (created_at IS NULL OR NOT isfinite(created_at))",
            values,
        )
        return self._upsert(
            "INSERT INTO extension_bundle"
            " (id, version_id, content_hash, storage_url, size_bytes, created_at)"
            " SELECT %(id)s::uuid, %(version)s::uuid, %(hash)s::text, %(url)s::text,"
            " %(size)s::bigint, greatest(%(now)s, max(created_at) + interval '1 millisecond')"
            " FROM extension_bundle"
            " WHERE version_id = %(version)s::uuid AND content_hash <> %(hash)s::text"
            " ON CONFLICT (version_id, content_hash) DO UPDATE SET"
            " storage_url = excluded.storage_url, size_bytes = excluded.size_bytes,"
            " created_at = excluded.created_at"
            " RETURNING id::text, xmax = 0",
            values,
        )

    def canonicalize_tenant(self, install: str) -> None:
        """Spell the tenant of an existing install canonically, as Alga looks for it."""
        values = {"id": install, "tenant": self.body.tenant_id}
        self._run(
            "UPDATE tenant_extension_install SET tenant_id = %(tenant)s WHERE id = %(id)s", values
        )
        self._run(
            "UPDATE tenant_extension_schedule SET tenant_id = %(tenant)s, updated_at = %(now)s"
            " WHERE install_id = %(id)s",
            values,
        )

    def install(self, registry: str, version: str, status: Mapping[str, Json]) -> str:
        """The installation itself; its id."""
        body = self.body
        derived = layout.install_id(body.tenant_id, body.publisher, body.manifest.name)
        return self._upsert(
            "INSERT INTO tenant_extension_install (id, tenant_id, registry_id, version_id,"
            " granted_caps, config, is_enabled, status, runner_status, created_at, updated_at)"
            " VALUES (%(id)s, %(tenant)s, %(registry)s, %(version)s, %(granted)s::jsonb, '{}',"
            " %(enabled)s, %(word)s, %(status)s::jsonb, %(now)s, %(now)s)"
            " ON CONFLICT (tenant_id, registry_id) DO UPDATE SET"
            " version_id = excluded.version_id, granted_caps = excluded.granted_caps,"
            " is_enabled = excluded.is_enabled, status = excluded.status,"
            " runner_status = excluded.runner_status, updated_at = excluded.updated_at"
            " RETURNING id::text, xmax = 0",
            {
                "id": self._candidate("tenant_extension_install", derived),
                "tenant": body.tenant_id,
                "registry": registry,
                "version": version,
                "granted": json.dumps(list(body.granted)),
                "enabled": body.enabled,
                "word": "enabled" if body.enabled else "disabled",
                "status": json.dumps(status),
            },
        ).id

    def config(self, install: str) -> None:
        """The configuration; it gets a fresh version only when something in it changes."""
        self._run(
            "INSERT INTO tenant_extension_install_config AS live (id, install_id, tenant_id,"
            " config, providers, version, created_at, updated_at)"
            " VALUES (%(id)s, %(install)s, %(tenant)s, %(config)s::jsonb, %(providers)s::jsonb,"
            " %(fresh)s, %(now)s, %(now)s)"
            " ON CONFLICT (install_id) DO UPDATE SET tenant_id = excluded.tenant_id,"
            " config = excluded.config, providers = excluded.providers,"
            " version = excluded.version, updated_at = excluded.updated_at"
            " WHERE (live.tenant_id, live.config, live.providers)"
            " IS DISTINCT FROM (excluded.tenant_id, excluded.config, excluded.providers)",
            {
                "id": str(uuid.uuid4()),
                "install": install,
                "tenant": self.body.tenant_id,
                "config": json.dumps(dict(self.body.config)),
                "providers": json.dumps(list(capabilities.effective(self.body.granted))),
                "fresh": str(uuid.uuid4()),
            },
        )

    def secrets(self, install: str) -> None:
        """The secrets, likewise; without any the row goes."""
        if not self.body.secrets:
            self._run(
                "DELETE FROM tenant_extension_install_secrets WHERE install_id = %(install)s",
                {"install": install},
            )
            return
        values = {name: secret.reveal() for name, secret in self.body.secrets.items()}
        self._run(
            "INSERT INTO tenant_extension_install_secrets AS live (id, install_id, tenant_id,"
            " ciphertext, algorithm, version, created_at, updated_at)"
            " VALUES (%(id)s, %(install)s, %(tenant)s, %(text)s, %(algorithm)s, %(fresh)s,"
            " %(now)s, %(now)s)"
            " ON CONFLICT (install_id) DO UPDATE SET tenant_id = excluded.tenant_id,"
            " ciphertext = excluded.ciphertext, algorithm = excluded.algorithm,"
            " transit_key = NULL, transit_mount = NULL, version = excluded.version,"
            " expires_at = NULL, updated_at = excluded.updated_at"
            " WHERE (live.tenant_id, live.ciphertext, live.algorithm)"
            " IS DISTINCT FROM (excluded.tenant_id, excluded.ciphertext, excluded.algorithm)",
            {
                "id": str(uuid.uuid4()),
                "install": install,
                "tenant": self.body.tenant_id,
                "text": encode_secrets(values),
                "algorithm": INLINE_ALGORITHM,
                "fresh": str(uuid.uuid4()),
            },
        )

    def endpoints(self, version: str) -> dict[tuple[str, str], str]:
        """The endpoints of the version; method and path → id of the row."""
        found: dict[tuple[str, str], str] = {}
        for endpoint in self.body.manifest.endpoints:
            row = self._upsert(
                "INSERT INTO extension_api_endpoint"
                " (id, version_id, method, path, handler, created_at, updated_at)"
                " VALUES (%(id)s, %(version)s, %(method)s, %(path)s, %(handler)s, %(now)s, %(now)s)"
                " ON CONFLICT (version_id, method, path) DO UPDATE SET"
                " handler = excluded.handler, updated_at = excluded.updated_at"
                " RETURNING id::text, false",
                {
                    "id": str(uuid.uuid4()),
                    "version": version,
                    "method": endpoint.method,
                    "path": endpoint.path,
                    "handler": endpoint.handler,
                },
            )
            found[endpoint.method, endpoint.path] = row.id
        return found

    def schedules(self, targets: Iterable[tuple[str, str]]) -> None:
        """Point schedules (id, endpoint id) at the endpoints of the installed version."""
        for schedule, endpoint in targets:
            self._run(
                "UPDATE tenant_extension_schedule SET endpoint_id = %(endpoint)s,"
                " updated_at = %(now)s WHERE id = %(schedule)s",
                {"schedule": schedule, "endpoint": endpoint},
            )

    def drop_endpoints(self, version: str, kept: Sequence[str]) -> None:
        """Remove endpoints that the manifest no longer has; nothing schedules them by now."""
        self._run(
            "DELETE FROM extension_api_endpoint"
            " WHERE version_id = %(version)s AND NOT (id = ANY (%(kept)s::uuid[]))",
            {"version": version, "kept": list(kept)},
        )

    def _candidate(self, table: str, derived: str) -> str:
        """The derived id, or a random one where a row that was changed by hand already has it.

        Should that be the very row that is meant, it keeps its id anyway.
        """
        taken = self.connection.execute(_WITH_ID[table], (derived,)).fetchone()
        return str(uuid.uuid4()) if taken else derived

    def _run(self, statement: str, values: Mapping[str, Any]) -> None:
        self.connection.execute(statement, {**values, "now": self.now})

    def _upsert(self, statement: str, values: Mapping[str, Any]) -> UpsertedRow:
        row = self.connection.execute(statement, {**values, "now": self.now}).fetchone()
        if row is None:
            raise RuntimeError("an upsert returned no row")
        return UpsertedRow(row[0], row[1])
