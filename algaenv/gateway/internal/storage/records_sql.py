"""The statements behind `records`. A write is one statement, and so one transaction and one trip.

Every part of such a statement sees the rows as they were before it; what it changes itself is
therefore added to what it counts.
"""

# ruff: noqa: S608 - what is put together here is constants of this file

from __future__ import annotations

from algaenv.gateway.internal.storage import limits

_INSTALL = """
install AS (
  SELECT i.id, i.registry_id::text AS extension, i.tenant_id, i.tenant_id::uuid AS tenant,
    i.is_enabled AND i.status = 'enabled' AS enabled
  FROM tenant_extension_install i WHERE i.id = %(install)s::uuid
)"""

_LIVE = "(r.ttl_expires_at IS NULL OR r.ttl_expires_at > now())"

_SCHEMA = """
schema AS (
  SELECT s.schema_version, s.schema_document
  FROM install i JOIN ext_storage_schemas s
    ON s.tenant = i.tenant AND s.extension_install_id = i.id
  WHERE s.namespace = %(namespace)s AND s.status = 'active'
)"""

STATE = f"""
WITH {_INSTALL}
SELECT i.id::text AS install, i.extension, i.tenant_id, i.enabled, EXISTS (
  SELECT 1 FROM ext_storage_records r
  WHERE r.tenant = i.tenant AND r.extension_install_id = i.id
    AND r.ttl_expires_at <= now()) AS stale
FROM install i"""
"""The install, and whether something of it has expired. No row: no such install."""

LOOK = f"""
WITH {_INSTALL}
SELECT i.extension, i.enabled, EXISTS (
  SELECT 1 FROM ext_storage_records g
  WHERE g.tenant = i.tenant AND g.extension_install_id = i.id
    AND g.ttl_expires_at <= now()) AS stale,
  r.key, r.revision, r.value, r.metadata, r.ttl_expires_at, r.created_at, r.updated_at
FROM install i LEFT JOIN ext_storage_records r
  ON r.tenant = i.tenant AND r.extension_install_id = i.id
  AND r.namespace = %(namespace)s AND r.key = %(key)s AND {_LIVE}"""
"""The same with one record; its `key` is NULL if it is not there."""

PAGE = f"""
WITH {_INSTALL}
SELECT r.key, r.revision, r.ttl_expires_at, r.created_at, r.updated_at,
  CASE WHEN %(values)s THEN r.value END AS value,
  CASE WHEN %(metadata)s THEN r.metadata END AS metadata
FROM install i JOIN ext_storage_records r ON r.tenant = i.tenant AND r.extension_install_id = i.id
WHERE r.namespace = %(namespace)s AND {_LIVE}
  AND (%(after)s::text IS NULL OR r.key > %(after)s::text)
  AND (%(prefix)s::text = '' OR r.key LIKE %(prefix)s::text || '%%')
ORDER BY r.key LIMIT %(limit)s::int"""
"""`prefix` comes with its wildcards escaped."""

REMOVE = f"""
WITH {_INSTALL}
DELETE FROM ext_storage_records r USING install i
WHERE r.tenant = i.tenant AND r.extension_install_id = i.id
  AND r.namespace = %(namespace)s AND r.key = %(key)s"""

SWEEP = f"""
WITH {_INSTALL}
DELETE FROM ext_storage_records r USING install i
WHERE r.tenant = i.tenant AND r.extension_install_id = i.id AND r.ttl_expires_at <= now()"""

COUNT = f"""
WITH {_INSTALL}
INSERT INTO ext_storage_usage AS u
  (tenant, extension_install_id, bytes_used, keys_count, namespaces_count)
SELECT i.tenant, i.id, coalesce(sum(r.value_size_bytes + r.metadata_size_bytes), 0),
  count(r.key), count(DISTINCT r.namespace)
FROM install i LEFT JOIN ext_storage_records r
  ON r.tenant = i.tenant AND r.extension_install_id = i.id
GROUP BY i.tenant, i.id
ON CONFLICT (tenant, extension_install_id) DO UPDATE SET bytes_used = excluded.bytes_used,
  keys_count = excluded.keys_count, namespaces_count = excluded.namespaces_count,
  updated_at = now()"""
"""The usage of the install anew, from its records."""

WRITE = f"""
WITH {_INSTALL}, {_SCHEMA},
asked AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset(%(items)s::jsonb) AS it(key text, value jsonb, metadata jsonb,
    value_bytes bigint, metadata_bytes bigint, ttl double precision, revision numeric)
),
total AS MATERIALIZED (
  SELECT coalesce(sum(n.keys), 0) AS keys, coalesce(sum(n.bytes), 0) AS bytes,
    count(*) AS namespaces, coalesce(max(n.keys) FILTER (WHERE n.namespace = %(namespace)s), 0)
    AS here
  FROM (
    SELECT r.namespace, count(*) AS keys, sum(r.value_size_bytes + r.metadata_size_bytes) AS bytes
    FROM install i JOIN ext_storage_records r
      ON r.tenant = i.tenant AND r.extension_install_id = i.id
    WHERE {_LIVE} GROUP BY r.namespace
  ) n
),
change AS MATERIALIZED (
  SELECT count(*) FILTER (WHERE r.key IS NULL) AS fresh,
    sum(a.value_bytes + a.metadata_bytes
      - coalesce(r.value_size_bytes + r.metadata_size_bytes, 0)) AS bytes,
    bool_and(a.revision IS NULL OR coalesce(r.revision = a.revision, false)) AS matches
  FROM install i CROSS JOIN asked a LEFT JOIN LATERAL (
    SELECT r.key, r.revision, r.value_size_bytes, r.metadata_size_bytes FROM ext_storage_records r
    WHERE r.tenant = i.tenant AND r.extension_install_id = i.id
      AND r.namespace = %(namespace)s AND r.key = a.key AND {_LIVE} LIMIT 1
  ) r ON true
),
before AS MATERIALIZED (
  SELECT b.* FROM install i CROSS JOIN change c CROSS JOIN LATERAL (
    SELECT EXISTS (
      SELECT 1 FROM ext_storage_usage u WHERE u.tenant = i.tenant AND u.extension_install_id = i.id
        AND u.bytes_used + c.bytes <= {limits.TOTAL_BYTES} AND (c.fresh = 0
          OR (u.keys_count + c.fresh <= {limits.KEYS_IN_NAMESPACE}
            AND u.namespaces_count < {limits.NAMESPACES}))
    ) AND NOT EXISTS (
      SELECT 1 FROM ext_storage_records r WHERE r.tenant = i.tenant
        AND r.extension_install_id = i.id AND r.ttl_expires_at <= now()
    ) AS known
  ) q CROSS JOIN LATERAL (
    SELECT u.keys_count::numeric AS keys, u.bytes_used::numeric AS bytes,
      u.namespaces_count::bigint AS namespaces, (c.fresh = 0 OR EXISTS (
        SELECT 1 FROM ext_storage_records r WHERE r.tenant = i.tenant
          AND r.extension_install_id = i.id AND r.namespace = %(namespace)s
      ))::int::numeric AS here
    FROM ext_storage_usage u
    WHERE q.known AND u.tenant = i.tenant AND u.extension_install_id = i.id
    UNION ALL
    SELECT t.keys, t.bytes, t.namespaces, t.here FROM total t WHERE NOT q.known
  ) b
),
verdict AS MATERIALIZED (
  SELECT i.*, s.schema_version, s.schema_document, t.keys + c.fresh AS keys,
    t.bytes + c.bytes AS bytes,
    t.namespaces + (t.here = 0)::int AS namespaces,
    CASE
      WHEN NOT i.enabled THEN 'disabled'
      WHEN s.schema_version IS DISTINCT FROM %(checked)s::int THEN 'schema'
      WHEN NOT c.matches THEN 'revision'
      WHEN c.fresh > 0 AND t.here + c.fresh > {limits.KEYS_IN_NAMESPACE} THEN 'keys'
      WHEN c.fresh > 0 AND t.here = 0 AND t.namespaces >= {limits.NAMESPACES} THEN 'namespaces'
      WHEN t.bytes + c.bytes > {limits.TOTAL_BYTES} THEN 'bytes'
      ELSE 'write'
    END AS word
  FROM install i CROSS JOIN before t CROSS JOIN change c LEFT JOIN schema s ON true
),
written AS (
  INSERT INTO ext_storage_records AS r (tenant, extension_install_id, namespace, key, revision,
    value, metadata, value_size_bytes, metadata_size_bytes, ttl_expires_at, created_at, updated_at)
  SELECT v.tenant, v.id, %(namespace)s::text, a.key, 1, coalesce(a.value, 'null'), a.metadata,
    a.value_bytes, a.metadata_bytes, now() + a.ttl * interval '1 second', now(), now()
  FROM verdict v CROSS JOIN asked a WHERE v.word = 'write'
  ON CONFLICT (tenant, extension_install_id, namespace, key) DO UPDATE SET
    revision = CASE WHEN {_LIVE} THEN r.revision + 1 ELSE 1 END,
    created_at = CASE WHEN {_LIVE} THEN r.created_at ELSE excluded.created_at END,
    value = excluded.value, metadata = excluded.metadata,
    value_size_bytes = excluded.value_size_bytes,
    metadata_size_bytes = excluded.metadata_size_bytes,
    ttl_expires_at = excluded.ttl_expires_at, updated_at = excluded.updated_at
  RETURNING key, revision, ttl_expires_at, created_at, updated_at
),
swept AS (
  DELETE FROM ext_storage_records r USING verdict v
  WHERE v.word = 'write' AND r.tenant = v.tenant AND r.extension_install_id = v.id
    AND r.ttl_expires_at <= now()
    AND NOT (r.namespace = %(namespace)s AND r.key IN (SELECT key FROM asked))
),
counted AS (
  INSERT INTO ext_storage_usage AS u
    (tenant, extension_install_id, bytes_used, keys_count, namespaces_count)
  SELECT v.tenant, v.id, v.bytes, v.keys, v.namespaces FROM verdict v WHERE v.word = 'write'
  ON CONFLICT (tenant, extension_install_id) DO UPDATE SET bytes_used = excluded.bytes_used,
    keys_count = excluded.keys_count, namespaces_count = excluded.namespaces_count,
    updated_at = now()
)
SELECT v.extension, v.word, v.bytes, v.schema_version, v.schema_document, w.*
FROM verdict v LEFT JOIN written w ON true"""
"""All `items`, or none: then `word` says why.

The usage that was noted counts, and of the namespace only whether there is anything in it. All is
counted anew, which takes as long as reading it all, when something has expired or when a limit
might be passed: nothing is refused because of a note that is wrong.

The records that are there already are looked up one by one: of a table that has just been filled
the planner knows little, and would rather read the namespace as a whole.

`checked` is the version of the schema that they fit. No row: no such install. One row for each
record written, in no order.
"""
