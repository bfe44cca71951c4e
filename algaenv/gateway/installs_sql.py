"""The statements behind `installs`, kept apart because they are read as a whole.

The current bundle of a version is its newest; where several are equally new, the one that the
look-up by host name would take, so that a page and its calls agree. A row without a date counts
as the newest, which is how PostgreSQL sorts and what the product runs into.
"""

from __future__ import annotations

_INSTALL = """
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

_WITH_PRODUCT = (
    "SELECT p.product_code, x.* FROM (SELECT coalesce((SELECT product_code FROM tenants "
    "WHERE tenant = %(tenant)s::text::uuid), 'psa') AS product_code) p LEFT JOIN ("
)

BY_REFERENCE = f"""{_WITH_PRODUCT}{_INSTALL}
WHERE i.tenant_id = %(tenant)s AND (i.id = %(ref)s::uuid OR i.registry_id = %(ref)s::uuid
  OR lower(r.publisher || '.' || r.name) = %(slug)s)
ORDER BY i.id LIMIT 1) x ON true"""

BY_SLUG = f"""{_WITH_PRODUCT}{_INSTALL}
WHERE i.tenant_id = %(tenant)s AND lower(r.publisher || '.' || r.name) = %(slug)s
ORDER BY i.id LIMIT 1) x ON true"""

BY_INSTALL = f"{_INSTALL} WHERE i.id = %(install)s::uuid"

ALL = f"{_INSTALL} WHERE i.tenant_id = %(tenant)s ORDER BY r.publisher, r.name"

VALIDATE = """
SELECT EXISTS (
  SELECT 1 FROM tenant_extension_install i JOIN extension_bundle b ON b.version_id = i.version_id
  WHERE i.tenant_id = %(tenant)s AND i.registry_id = %(extension)s::uuid
    AND b.content_hash = %(hash)s
) AND coalesce(
  (SELECT product_code = 'psa' FROM tenants WHERE tenant = %(tenant)s::text::uuid), true)
AS valid"""

BY_HOST = """
SELECT i.tenant_id AS tenant, i.registry_id::text, b.content_hash
FROM tenant_extension_install i
JOIN extension_bundle b ON b.version_id = i.version_id
WHERE i.runner_domain = %(host)s
ORDER BY b.created_at DESC, b.content_hash DESC LIMIT 1"""
