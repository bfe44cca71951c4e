"""The installed extensions of the tenant, read from the tables at this moment.

One statement reads an install with everything that belongs to it, so the parts are consistent. The
product reads twice and answers 503 when an install changed in between; that cannot happen here.

The current bundle of a version is its newest; of several that are equally new, the one that the
look-up by host name takes, so that a page and its calls agree. A row without a date counts as the
newest, as PostgreSQL sorts and as the product does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.capabilities import DEFAULTS, known
from algaenv.gateway.db import query
from algaenv.gateway.javascript import iso_timestamp, parse_json, stringify, trim
from algaenv.gateway.scratch_tenants import request_tenant
from algaenv.serving.coalesced_reads import CoalescedReads

if TYPE_CHECKING:
    from algaenv.gateway.db import Pool


_CONTENT_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")

_SELECT = """
SELECT i.id::text AS install_id, i.registry_id::text, i.tenant_id, i.version_id::text,
  lower(r.publisher || '.' || r.name) AS slug, r.publisher, r.name, v.version, b.content_hash,
  v.api_endpoints, v.ui, v.capabilities, i.granted_caps, i.config AS install_config,
  c.id::text AS config_id, c.config, c.providers, c.version AS config_version,
  c.updated_at AS config_updated_at,
  s.ciphertext, s.algorithm, s.transit_key, s.transit_mount, s.version AS secrets_version,
  s.expires_at AS secrets_expire, i.is_enabled, i.status, i.runner_domain
FROM tenant_extension_install i
JOIN extension_registry r ON r.id = i.registry_id
JOIN extension_version v ON v.id = i.version_id
LEFT JOIN tenant_extension_install_config c ON c.install_id = i.id AND c.tenant_id = i.tenant_id
LEFT JOIN tenant_extension_install_secrets s ON s.install_id = i.id AND s.tenant_id = i.tenant_id
LEFT JOIN LATERAL (
  SELECT content_hash FROM extension_bundle WHERE version_id = i.version_id
  ORDER BY created_at DESC, content_hash DESC LIMIT 1
) b ON true
"""

_WITH_TENANT = (
    "SELECT coalesce(t.product_code, 'psa') AS product_code, t.client_name AS tenant_name, x.* "
    "FROM (SELECT %(tenant)s::text::uuid AS id) session "
    "LEFT JOIN tenants t ON t.tenant = session.id LEFT JOIN ("
)

SELECT_BY_REFERENCE = f"""{_WITH_TENANT}{_SELECT}
WHERE i.tenant_id = %(tenant)s AND (i.id = %(ref)s::uuid OR i.registry_id = %(ref)s::uuid
  OR lower(r.publisher || '.' || r.name) = %(slug)s)
ORDER BY i.id LIMIT 1) x ON true"""

SELECT_BY_SLUG = f"""{_WITH_TENANT}{_SELECT}
WHERE i.tenant_id = %(tenant)s AND lower(r.publisher || '.' || r.name) = %(slug)s
ORDER BY i.id LIMIT 1) x ON true"""

SELECT_BY_INSTALL = f"{_SELECT} WHERE i.id = %(install)s::uuid"

SELECT_ALL = f"{_SELECT} WHERE i.tenant_id = %(tenant)s ORDER BY r.publisher, r.name"

SELECT_VALID = """
SELECT EXISTS (
  SELECT 1 FROM tenant_extension_install i JOIN extension_bundle b ON b.version_id = i.version_id
  WHERE i.tenant_id = %(tenant)s AND i.registry_id = %(extension)s::uuid
    AND b.content_hash = %(hash)s
) AND coalesce(
  (SELECT product_code = 'psa' FROM tenants WHERE tenant = %(tenant)s::text::uuid), true)
AS valid"""

SELECT_BY_HOST = """
SELECT i.tenant_id AS tenant, i.registry_id::text, b.content_hash
FROM tenant_extension_install i
JOIN extension_bundle b ON b.version_id = i.version_id
WHERE i.runner_domain = %(host)s
ORDER BY b.created_at DESC, b.content_hash DESC LIMIT 1"""


EXTENSION_PRODUCT = "psa"
"""The only product whose tenants have extensions."""

METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"))
"""An endpoint declared with another method can never be called."""

_REFERENCE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HASH_PREFIX = "sha256:"
_HEX_DIGITS = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call that the manifest declares; `path` may hold `:name` segments."""

    method: str
    path: str
    handler: str


@dataclass(frozen=True, slots=True)
class Install:
    """An extension in the tenant. Ids are canonical UUIDs, JSON columns are as they stand."""

    install_id: str
    registry_id: str
    tenant: str
    slug: str
    """`publisher.name` in lower case."""
    publisher: str
    name: str
    version: str
    version_id: str
    content_hash: str | None
    """`sha256:…` of the newest bundle; None without one."""
    endpoints: tuple[Endpoint, ...]
    """Those that can be called."""
    ui: Mapping[str, Any]
    """`{"type", "entry", "hooks"?}`; empty without a page."""
    granted_caps: tuple[str, ...]
    """Of the column of this name, as it stands."""
    providers: tuple[str, ...]
    """All that the extension may do: what is granted, configured and declared, with the defaults;
    unknown names are dropped."""
    config: Mapping[str, str]
    secret_envelope: Mapping[str, Any] | None = field(repr=False)
    """As the runner takes it."""
    config_version: str | None
    secrets_version: str | None
    config_updated_at: datetime | None
    is_enabled: bool
    status: str
    runner_domain: str | None

    @property
    def available(self) -> bool:
        """Whether it may be called."""
        return self.is_enabled and self.status == "enabled"

    @property
    def digest(self) -> Digest | None:
        """Of the bundle; None without one, and for a hash of another kind."""
        hashed = _CONTENT_HASH.fullmatch(self.content_hash or "")
        return Digest(hashed[1].lower()) if hashed else None

    def menu_label(self, menu: str) -> str | None:
        """The label under `appMenu` or `clientPortalMenu`; None without one."""
        found: Any = self.ui
        for key in ("hooks", menu, "label"):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found.strip() or None if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class FoundInstall:
    """What was found under a reference, and the product and name of the tenant."""

    product: str
    install: Install | None
    tenant_name: str = ""
    """Empty without a row of the tenant."""


@dataclass(frozen=True, slots=True)
class HostOwner:
    """Whose host name it is; `content_hash` is prefixed."""

    tenant: str
    registry_id: str
    content_hash: str


class Installs:
    """Reads installs. Every method raises psycopg.Error when the database does not answer."""

    def __init__(self, pool: Pool, tenant: str, *, grants_only: bool = False) -> None:
        """`grants_only`: an install has what it was granted, not what its manifest declares."""
        self._pool = pool
        self._grants_only = grants_only
        self._tenant = tenant
        self._reads = CoalescedReads(self._find)

    async def find(self, ref: str) -> Install | None:
        """The install that a registry id, an install id or a slug names, enabled or not."""
        return (await self.find_with_product(ref)).install

    async def find_with_product(self, ref: str) -> FoundInstall:
        """The same, with what is known of the tenant; calls that come together share what is read.

        A UUID of version 1 to 5 may be any of the three, everything else is a slug. Blanks around
        a UUID and a NUL break the statement (psycopg.DataError), as they do in the product.
        """
        return await self._reads.get((self._current_tenant(), ref))

    async def _find(self, key: tuple[str, str]) -> FoundInstall:
        tenant, ref = key
        ids = _REFERENCE.fullmatch(ref.strip().lower()) is not None
        rows = await self._rows(
            SELECT_BY_REFERENCE if ids else SELECT_BY_SLUG,
            {"tenant": tenant, "ref": ref, "slug": ref.lower()},
        )
        found = rows[0]
        return FoundInstall(
            found["product_code"],
            self._install(found) if found["install_id"] else None,
            found["tenant_name"] or "",
        )

    async def get(self, install_id: str) -> Install | None:
        """The install of this id in any tenant. Raises psycopg.DataError for what is no UUID."""
        rows = await self._rows(SELECT_BY_INSTALL, {"install": install_id})
        return self._install(rows[0]) if rows else None

    async def all(self) -> list[Install]:
        """Every install of the tenant, by publisher and name."""
        rows = await self._rows(SELECT_ALL, {"tenant": self._current_tenant()})
        return list(map(self._install, rows))

    async def validate(self, tenant: str, extension: str, content_hash: str) -> bool:
        """Whether the installed version of an extension (registry id) has a bundle of this hash.

        Enabled or not does not matter. False for a hash that is none, for names that are no UUIDs,
        and for a tenant of another product; a tenant without a row has the right one.
        """
        import psycopg

        if not content_hash.startswith(_HASH_PREFIX):
            if not _HEX_DIGITS.fullmatch(content_hash):
                return False
            content_hash = _HASH_PREFIX + content_hash.lower()
        values = {"tenant": tenant, "extension": extension, "hash": content_hash}
        if any("\0" in value for value in values.values()):
            return False
        try:
            return bool((await self._rows(SELECT_VALID, values))[0]["valid"])
        except psycopg.DataError:
            return False

    async def lookup_by_host(self, host: str) -> HostOwner | None:
        """Whose host name this is, enabled or not; a port is ignored."""
        name = _without_nul(host).strip().lower().partition(":")[0]
        rows = await self._rows(SELECT_BY_HOST, {"host": name})
        if not rows:
            return None
        row = rows[0]
        return HostOwner(row["tenant"], row["registry_id"], row["content_hash"])

    def _current_tenant(self) -> str:
        return request_tenant.get() or self._tenant

    def _install(self, row: Mapping[str, Any]) -> Install:
        return _install(row, grants_only=self._grants_only)

    async def _rows(
        self, statement: LiteralString, values: Mapping[str, object]
    ) -> list[dict[str, Any]]:
        return await query(self._pool, statement, values)


def _without_nul(text: str) -> str:
    """No name in the database holds U+0000, which no statement can carry."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _install(row: Mapping[str, Any], *, grants_only: bool) -> Install:
    configured = row["config_id"] is not None
    granted = _strings(row["granted_caps"])
    # A column without a list grants nothing and withholds nothing.
    grants_only = grants_only and isinstance(row["granted_caps"], list)
    providers = known(
        (
            *DEFAULTS,
            *(_strings(row["providers"]) if configured else ()),
            *granted,
            *(() if grants_only else _strings(row["capabilities"])),
        )
    )
    return Install(
        install_id=row["install_id"],
        registry_id=row["registry_id"],
        tenant=row["tenant_id"],
        slug=row["slug"],
        publisher=row["publisher"],
        name=row["name"],
        version=row["version"],
        version_id=row["version_id"],
        content_hash=row["content_hash"],
        endpoints=_endpoints(row["api_endpoints"]),
        ui=row["ui"] if isinstance(row["ui"], dict) else {},
        granted_caps=granted,
        providers=providers,
        config=_config(row["install_config"] if row["config"] is None else row["config"]),
        secret_envelope=_envelope(row),
        config_version=row["config_version"],
        secrets_version=row["secrets_version"],
        config_updated_at=row["config_updated_at"],
        is_enabled=row["is_enabled"],
        status=row["status"],
        runner_domain=row["runner_domain"],
    )


def _endpoints(listed: object) -> tuple[Endpoint, ...]:
    """One without a path or a handler cannot be called, nor can one of another method."""
    found: list[Endpoint] = []
    declared = _parsed(listed)
    for each in declared if isinstance(declared, list) else ():
        if not isinstance(each, dict):
            continue
        method, path, handler = (each.get(name) for name in ("method", "path", "handler"))
        if not (isinstance(method, str) and isinstance(path, str) and isinstance(handler, str)):
            continue
        method, path = trim(method).upper(), trim(path)
        if method in METHODS and path and handler:
            found.append(Endpoint(method, path, handler))
    return tuple(found)


def _parsed(value: object) -> Any:
    """A column of JSON may hold its document as a text."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return None


def _strings(value: object) -> tuple[str, ...]:
    return tuple(it for it in value if isinstance(it, str)) if isinstance(value, list) else ()


def _config(value: object) -> dict[str, str]:
    """The runner takes strings only: null becomes the empty one, all else JSON."""
    fields = _parsed(value)
    if isinstance(fields, list):
        fields = {str(place): each for place, each in enumerate(fields)}
    if not isinstance(fields, dict):
        return {}
    return {name: _text(each) for name, each in fields.items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return stringify(value)


def _envelope(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if not row["ciphertext"]:
        return None
    fields = {
        "ciphertext_b64": row["ciphertext"],
        "algorithm": row["algorithm"],
        "key_path": row["transit_key"],
        "mount": row["transit_mount"],
        "version": row["secrets_version"],
        "expires_at": iso_timestamp(row["secrets_expire"]),
    }
    return {name: value for name, value in fields.items() if value is not None}
