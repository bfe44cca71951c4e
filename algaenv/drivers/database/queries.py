"""Reads all rows of extensions out of the database: plain JSON in, plain JSON out.

A snapshot takes three statements, however many extensions there are. The module imports nothing
else of this package, so that a light process can read. Every statement stays within what Citus
plans: no join of `tenants`, which is distributed there, with the local tables of extensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

REQUIRED_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "tenants": ("tenant", "client_name"),
    "extension_registry": ("id", "publisher", "name", "display_name", "description"),
    "extension_version": (
        "id",
        "registry_id",
        "version",
        "runtime",
        "main_entry",
        "api",
        "ui",
        "capabilities",
        "api_endpoints",
    ),
    "extension_bundle": (
        "id",
        "version_id",
        "content_hash",
        "storage_url",
        "size_bytes",
        "created_at",
    ),
    "tenant_extension_install": (
        "id",
        "tenant_id",
        "registry_id",
        "version_id",
        "granted_caps",
        "is_enabled",
        "status",
        "runner_status",
        "updated_at",
    ),
    "tenant_extension_install_config": (
        "install_id",
        "tenant_id",
        "config",
        "providers",
        "version",
        "updated_at",
    ),
    "tenant_extension_install_secrets": (
        "install_id",
        "tenant_id",
        "ciphertext",
        "algorithm",
        "transit_key",
        "transit_mount",
        "version",
        "expires_at",
        "updated_at",
    ),
    "tenant_extension_schedule": ("id", "install_id", "tenant_id", "endpoint_id", "name"),
}
"""Without these nothing can be installed."""

INSTALL_TABLE = "tenant_extension_install"
BUNDLE_TABLE = "extension_bundle"

ENDPOINT_TABLE = "extension_api_endpoint"
"""A database that was migrated by the community edition first never gets this table, and Alga
takes that for an extension without endpoints; so do we."""

STORAGE_TABLE = "ext_storage_records"
"""What extensions store for themselves; only ever counted."""


SEED_TABLE = "algaenv_seeds"
"""The marks of seeds, in a managed database that has had any."""

MAX_TENANTS = 12


class SupportsFetch(Protocol):
    """What a statement answers with."""

    def fetchall(self) -> list[Any]:
        """All rows."""
        ...

    def fetchone(self) -> Any:
        """The next row, None after the last."""
        ...


class SupportsExecute(Protocol):
    """What is needed of a connection: one of psycopg, or of the quick reader."""

    @property
    def execute(self) -> Callable[..., SupportsFetch]:
        """Run a statement with its values."""
        ...


_COLUMNS = """
SELECT t.name, array_agg(a.attname::text)
FROM unnest(%s::text[]) AS t(name)
JOIN pg_attribute a ON a.attrelid = to_regclass(quote_ident(t.name))
WHERE a.attnum > 0 AND NOT a.attisdropped
GROUP BY t.name
"""

_TENANTS = """
SELECT t.tenant::text, t.client_name, to_jsonb(t) ->> 'product_code',
  t.tenant::text = %(id)s OR t.tenant::text = %(predicted)s OR t.client_name = %(name)s AS fits
FROM tenants t
WHERE to_jsonb(t) ->> 'email' IS NULL
  OR to_jsonb(t) ->> 'email' NOT LIKE 'scratch+%%@algaenv.invalid'
ORDER BY fits DESC NULLS LAST, t.client_name, t.tenant
LIMIT %(limit)s
"""

_ROWS = """
WITH wanted AS (
  SELECT w.publisher, w.name, w.version
  FROM jsonb_to_recordset(%(extensions)s::jsonb) AS w(publisher text, name text, version text)
), registry AS (
  SELECT r.id, r.publisher, r.name FROM extension_registry r
  WHERE (r.publisher, r.name) IN (SELECT w.publisher, w.name FROM wanted w)
), install AS (
  SELECT i.id, i.tenant_id, i.registry_id, i.version_id, i.granted_caps, i.is_enabled, i.status,
    i.runner_status -> 'algaenv' AS mark
  FROM tenant_extension_install i
  WHERE (i.runner_status #>> '{algaenv,environment}' = %(environment)s
      AND (%(only)s::uuid[] IS NULL OR i.registry_id = ANY (%(only)s::uuid[])))
    OR (lower(btrim(i.tenant_id)) = ANY (%(tenants)s)
      AND i.registry_id IN (SELECT id FROM registry))
), owner AS (
  SELECT r.id, r.publisher, r.name FROM extension_registry r
  WHERE r.id IN (SELECT registry_id FROM install)
), version AS (
  SELECT v.id, v.registry_id, v.version, v.runtime, v.main_entry, v.ui, v.capabilities,
    v.api_endpoints
  FROM extension_version v
  WHERE v.id IN (SELECT version_id FROM install) OR (v.registry_id, v.version) IN (
    SELECT r.id, w.version FROM registry r JOIN wanted w USING (publisher, name))
), bundle AS (
  SELECT b.version_id, b.content_hash, b.storage_url, b.size_bytes,
    b.created_at IS NOT NULL AS dated,
    rank() OVER (PARTITION BY b.version_id ORDER BY b.created_at DESC NULLS FIRST) AS place
  FROM extension_bundle b WHERE b.version_id IN (SELECT id FROM version)
), config AS (
  SELECT c.install_id, c.tenant_id, c.config, c.providers
  FROM tenant_extension_install_config c WHERE c.install_id IN (SELECT id FROM install)
), secret AS (
  SELECT s.install_id, s.tenant_id, s.ciphertext, s.algorithm
  FROM tenant_extension_install_secrets s WHERE s.install_id IN (SELECT id FROM install)
), other AS (
  SELECT o.version_id, min(o.tenant_id) AS tenant, count(*) AS installs
  FROM tenant_extension_install o
  WHERE o.version_id IN (SELECT id FROM version) AND o.id NOT IN (SELECT id FROM install)
    AND o.runner_status -> 'scratch' IS NULL
  GROUP BY o.version_id
), holder AS (
  SELECT DISTINCT lower(btrim(h.tenant_id)) AS tenant, h.registry_id
  FROM tenant_extension_install h
  WHERE lower(btrim(h.tenant_id)) = ANY (%(tenants)s)
    OR h.tenant_id IN (SELECT tenant_id FROM install)
), build AS (
  SELECT p.registry_id, b.content_hash,
    substring(b.storage_url FROM 'tenants/([^/]+)/extensions/') AS tenant
  FROM extension_bundle b JOIN extension_version p ON p.id = b.version_id
  WHERE %(whole)s OR p.registry_id IN (SELECT registry_id FROM install)
    OR p.registry_id IN (SELECT id FROM registry)
), endpoint AS (%(endpoint)s), schedule AS (%(schedule)s)
SELECT jsonb_build_object(
  'registry', (SELECT coalesce(jsonb_agg(it), '[]') FROM registry it),
  'owner', (SELECT coalesce(jsonb_agg(it), '[]') FROM owner it),
  'install', (SELECT coalesce(jsonb_agg(it), '[]') FROM install it),
  'version', (SELECT coalesce(jsonb_agg(it), '[]') FROM version it),
  'bundle', (SELECT coalesce(jsonb_agg(it), '[]') FROM bundle it),
  'config', (SELECT coalesce(jsonb_agg(it), '[]') FROM config it),
  'secret', (SELECT coalesce(jsonb_agg(it), '[]') FROM secret it),
  'other', (SELECT coalesce(jsonb_agg(it), '[]') FROM other it),
  'holder', (SELECT coalesce(jsonb_agg(it), '[]') FROM holder it),
  'build', (SELECT coalesce(jsonb_agg(it), '[]') FROM build it),
  'endpoint', (SELECT coalesce(jsonb_agg(it), '[]') FROM endpoint it),
  'schedule', (SELECT coalesce(jsonb_agg(it), '[]') FROM schedule it))
"""

_SEEDS = f"SELECT coalesce(jsonb_agg(s ORDER BY s.address), '[]') FROM {SEED_TABLE} s"  # noqa: S608
_ENDPOINT = """
  SELECT e.version_id, e.method, e.path, e.handler
  FROM extension_api_endpoint e WHERE e.version_id IN (SELECT id FROM version)"""
_SCHEDULE = """
  SELECT s.id, s.install_id, s.name, s.endpoint_id, e.version_id, e.method, e.path
  FROM tenant_extension_schedule s LEFT JOIN extension_api_endpoint e ON e.id = s.endpoint_id
  WHERE s.install_id IN (SELECT id FROM install)"""
_NOTHING = "SELECT 1 AS none WHERE false"


def read_snapshot(
    dsn: Mapping[str, Any], request: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Answer `question` over one connection; `dsn` are arguments of `psycopg.connect`.

    Each statement is given `seconds`.

    The question: `tables` (names whose columns are told), `tenant` (`id`, `name`, `predicted`, each
    text or None), `environment`, `extensions` (objects with publisher, name and version) and
    `whole` (whether builds of every extension are read, and not only of those asked about).
    The answer: `columns` (table → names), `tenants` (at most MAX_TENANTS, those that fit first),
    `rows` (table → list of rows; None when a needed table or column is missing) and `seeds` (rows
    of SEED_TABLE, if that is one of `tables`).
    Raises psycopg.Error.
    """
    from algaenv.drivers.database.connection import connect

    with connect(seconds, **dsn, autocommit=True, prepare_threshold=None) as connection:
        return read_snapshot_over(connection, request)


def read_snapshot_over(connection: SupportsExecute, request: Mapping[str, Any]) -> dict[str, Any]:
    """The same over a connection that is there already."""
    live = read_columns(connection, request["tables"])
    if not set(REQUIRED_COLUMNS["tenants"]) <= set(live.get("tenants", ())):
        return {"columns": live, "tenants": [], "rows": None, "seeds": []}
    tenants = _tenants(connection, request["tenant"])
    rows = None
    if _has_required_columns(live):
        scope = _tenant_scope(tenants, request["tenant"])
        rows = read_rows(connection, request, scope, with_endpoints=ENDPOINT_TABLE in live)
    seeds = connection.execute(_SEEDS).fetchone()[0] if SEED_TABLE in live else []
    return {"columns": live, "tenants": tenants, "rows": rows, "seeds": seeds}


def read_columns(connection: SupportsExecute, tables: Sequence[str]) -> dict[str, list[str]]:
    """Table → its columns, for those of `tables` that are there. One statement."""
    return dict(connection.execute(_COLUMNS, (list(tables),)).fetchall())


def read_rows(
    connection: SupportsExecute,
    request: Mapping[str, Any],
    tenants: Sequence[str],
    *,
    with_endpoints: bool,
    only: Sequence[str] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The rows of `extensions` in `tenants`, and of installs marked by `environment`.

    Of the marked ones, `only` those of these registry ids if any are given.
    """
    query = _ROWS.replace("%(endpoint)s", _ENDPOINT if with_endpoints else _NOTHING)
    query = query.replace("%(schedule)s", _SCHEDULE if with_endpoints else _NOTHING)
    row = connection.execute(
        query,
        {
            "extensions": json.dumps(request["extensions"]),
            "environment": request["environment"],
            "tenants": list(tenants),
            "whole": bool(request.get("whole")),
            "only": None if only is None else list(only),
        },
    ).fetchone()
    found: dict[str, list[dict[str, Any]]] = row[0] if row else {}
    return found


def _tenants(connection: SupportsExecute, tenant: Mapping[str, str | None]) -> list[dict[str, Any]]:
    rows = connection.execute(_TENANTS, {**tenant, "limit": MAX_TENANTS}).fetchall()
    return [
        {"id": id_, "name": name, "product": product, "fits": bool(fits)}
        for id_, name, product, fits in rows
    ]


def _tenant_scope(
    tenants: Sequence[Mapping[str, Any]], asked: Mapping[str, str | None]
) -> list[str]:
    """The tenants whose installs matter: those that fit, else all there are."""
    fitting = [it["id"] for it in tenants if it["fits"]] or [it["id"] for it in tenants]
    return sorted({*fitting, *(it for it in (asked["id"], asked["predicted"]) if it)})


def _has_required_columns(live: Mapping[str, Sequence[str]]) -> bool:
    return all(
        set(needed) <= set(live.get(table, ())) for table, needed in REQUIRED_COLUMNS.items()
    )
