"""Extensions in a database, row by row as publishing and installing leave them."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from algaenv.bundle import layout
from algaenv.bundle.digest import Digest
from tests.servers import Database, Sql

PUBLISHER = "Acme"
NAME = "Hello.World"
ENDPOINTS = (
    ("GET", "/hello"),
    ("POST", "/hello"),
    ("PUT", "/items/:id"),
    ("GET", "/items/:id"),
    ("DELETE", "/items/:id"),
    ("PATCH", "/items/:id"),
    ("HEAD", "/headed"),
    ("OPTIONS", "/optional"),
    ("GET", "/"),
)


@dataclass(frozen=True, slots=True)
class Extension:
    """What was written, by its ids."""

    tenant: str
    install: str
    registry: str
    version: str
    digest: Digest
    slug: str


def install(
    database: Database,
    tenant: str,
    *,
    publisher: str = PUBLISHER,
    name: str = NAME,
    version: str = "1.2.3",
    digest: Digest | None = None,
    endpoints: Sequence[tuple[str, str]] = ENDPOINTS,
    hooks: Mapping[str, object] | None = None,
    capabilities: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    enabled: bool = True,
    status: str = "enabled",
    domain: str | None = None,
) -> Extension:
    """Write all rows of an extension; an install configuration only with `config`."""
    digest = digest or Digest.of(name.encode())
    registry = layout.registry_id(publisher, name)
    version_id = layout.version_id(publisher, name, version)
    install_id = layout.install_id(tenant, publisher, name)
    shown = hooks if hooks is not None else {"appMenu": {"label": "Hello"}}
    declared = [{"method": m, "path": p, "handler": "dist/main"} for m, p in endpoints]
    with database.session() as sql:
        sql(
            "INSERT INTO extension_registry (id, publisher, name) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            registry,
            publisher,
            name,
        )
        sql(
            "INSERT INTO extension_version (id, registry_id, version, runtime, main_entry, ui,"
            " capabilities, api_endpoints) VALUES (%s, %s, %s, 'wasm-js@1', 'ui', %s, %s, %s)",
            version_id,
            registry,
            version,
            json.dumps({"type": "iframe", "entry": "ui/index.html", "hooks": shown}),
            json.dumps(capabilities),
            json.dumps(declared),
        )
        _add_bundle(sql, version_id, digest)
        sql(
            "INSERT INTO tenant_extension_install (id, tenant_id, registry_id, version_id,"
            " granted_caps, config, is_enabled, status, runner_domain)"
            ' VALUES (%s, %s, %s, %s, %s, \'{"from": "install"}\', %s, %s, %s)',
            install_id,
            tenant,
            registry,
            version_id,
            json.dumps(["cap:http.fetch", "cap:nobody.knows"]),
            enabled,
            status,
            domain,
        )
        if config is not None:
            sql(
                "INSERT INTO tenant_extension_install_config (install_id, tenant_id, config,"
                " providers, version) VALUES (%s, %s, %s, %s, 'config-1')",
                install_id,
                tenant,
                json.dumps(config),
                json.dumps(["cap:storage.kv", "cap:context.read"]),
            )
        if secrets is not None:
            sql(
                "INSERT INTO tenant_extension_install_secrets (install_id, tenant_id, ciphertext,"
                " version) VALUES (%s, %s, %s, 'secrets-1')",
                install_id,
                tenant,
                base64.b64encode(json.dumps(secrets).encode()).decode(),
            )
    return Extension(tenant, install_id, registry, version_id, digest, layout.slug(publisher, name))


def add_bundle(database: Database, version: str, digest: Digest, ago: str = "0 s") -> None:
    """One more build of a version, so long ago."""
    _add_bundle(database.sql, version, digest, ago)


def _add_bundle(sql: Sql, version: str, digest: Digest, ago: str = "0 s") -> None:
    sql(
        "INSERT INTO extension_bundle (id, version_id, content_hash, created_at)"
        " VALUES (%s, %s, %s, now() - %s::interval)",
        str(uuid.uuid4()),
        version,
        digest.prefixed,
        ago,
    )
