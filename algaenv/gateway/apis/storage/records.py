"""Stored records in their table. A write is one statement, and so one transaction and one trip.

Every part of such a statement sees the rows as they were before it; what it changes itself is
therefore added to what it counts. Writes to one install wait for each other here: the quota is
counted by the statement that fills it, and this process is the only one that writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString
from weakref import WeakValueDictionary

from algaenv.gateway.apis.api_endpoint import ApiError
from algaenv.gateway.apis.storage.requests import (
    MAX_KEYS,
    MAX_NAMESPACES,
    MAX_TOTAL_BYTES,
    Item,
    sizes,
    wrong_size,
    wrong_ttl,
)
from algaenv.gateway.db import STATEMENT_SECONDS, acquire
from algaenv.gateway.javascript import dump_json

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from algaenv.gateway.db import Pool


# ruff: noqa: S608 - what is put together here is constants of this file


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

SELECT_STATE = f"""
WITH {_INSTALL}
SELECT i.id::text AS install, i.extension, i.tenant_id, i.enabled, EXISTS (
  SELECT 1 FROM ext_storage_records r
  WHERE r.tenant = i.tenant AND r.extension_install_id = i.id
    AND r.ttl_expires_at <= now()) AS stale
FROM install i"""
"""The install, and whether something of it has expired. No row: no such install."""

SELECT_RECORD = f"""
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

SELECT_PAGE = f"""
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

DELETE_RECORD = f"""
WITH {_INSTALL}
DELETE FROM ext_storage_records r USING install i
WHERE r.tenant = i.tenant AND r.extension_install_id = i.id
  AND r.namespace = %(namespace)s AND r.key = %(key)s"""

DELETE_EXPIRED = f"""
WITH {_INSTALL}
DELETE FROM ext_storage_records r USING install i
WHERE r.tenant = i.tenant AND r.extension_install_id = i.id AND r.ttl_expires_at <= now()"""

UPDATE_USAGE = f"""
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
        AND u.bytes_used + c.bytes <= {MAX_TOTAL_BYTES} AND (c.fresh = 0
          OR (u.keys_count + c.fresh <= {MAX_KEYS}
            AND u.namespaces_count < {MAX_NAMESPACES}))
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
      WHEN c.fresh > 0 AND t.here + c.fresh > {MAX_KEYS} THEN 'keys'
      WHEN c.fresh > 0 AND t.here = 0 AND t.namespaces >= {MAX_NAMESPACES} THEN 'namespaces'
      WHEN %(wrong)s::text = 'size' THEN 'size'
      WHEN t.bytes + c.bytes > {MAX_TOTAL_BYTES} THEN 'bytes'
      WHEN %(wrong)s::text = 'ttl' THEN 'ttl'
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

`checked` is the version of the schema that they fit, `wrong` is what is wrong with one of them
besides. No row: no such install. One row for each record written, in no order.
"""


RecordRow = Mapping[str, Any]

_ATTEMPTS = 5
"""Of a write whose namespace is given another schema each time."""

REVISION_MISMATCH = "ifRevision did not match stored revision"


@dataclass(frozen=True, slots=True)
class Schema:
    """What an active row says about the values of a namespace."""

    version: int
    document: Any


@dataclass(frozen=True, slots=True)
class Written:
    """Records as they are now, in the order in which they were given."""

    extension: str
    rows: tuple[RecordRow, ...]


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Nothing is written: the values must fit this schema, or None if there is none any more."""

    extension: str
    schema: Schema | None


class RecordRepository:
    """The records of every install. Raises ApiError, and psycopg.Error as the database has it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def state(self, install: str) -> RecordRow:
        """`install extension tenant_id stale` of an enabled install; `stale`: something expired."""
        return _usable(await self._rows(SELECT_STATE, {"install": install}))[0]

    async def find(self, install: str, namespace: str, key: str) -> RecordRow:
        """One record with `extension stale`; its `key` is None if there is none."""
        parameters = {"install": install, "namespace": namespace, "key": key}
        return _usable(await self._rows(SELECT_RECORD, parameters))[0]

    async def page(
        self,
        install: str,
        namespace: str,
        *,
        after: str | None,
        prefix: str,
        limit: int,
        values: bool,
        metadata: bool,
    ) -> list[dict[str, Any]]:
        """So many records by key, in the collation of the database."""
        escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parameters = {
            "install": install,
            "namespace": namespace,
            "after": after,
            "prefix": escaped,
            "limit": limit,
            "values": values,
            "metadata": metadata,
        }
        return await self._rows(SELECT_PAGE, parameters)

    async def write(
        self, install: str, namespace: str, items: Sequence[Item], fits: Schema | None
    ) -> Written | Unchecked:
        """Write all of them, unless there is another active schema than the one they fit.

        Items of several may be too large, or live too long: the product finds that out last.
        """
        size = next(filter(None, map(wrong_size, items)), None)
        ttl = next(filter(None, map(wrong_ttl, items)), None)
        parameters = {
            "install": install,
            "namespace": namespace,
            "items": dump_json([_fields(item) for item in items]).decode(),
            "checked": fits.version if fits else None,
            "wrong": "size" if size else "ttl" if ttl else "",
        }
        async with self._alone(install):
            rows = await self._rows(WRITE, parameters)
        first = _usable(rows)[0]
        match first["word"]:
            case "write":
                by_key = {row["key"]: row for row in rows}
                return Written(first["extension"], tuple(by_key[item.key] for item in items))
            case "schema":
                version = first["schema_version"]
                found = None if version is None else Schema(version, first["schema_document"])
                return Unchecked(first["extension"], found)
            case "size" | "ttl" if wrong := size or ttl:
                raise wrong
            case word:
                raise _write_error(word, namespace, int(first["bytes"]))

    async def write_fitting(
        self,
        install: str,
        namespace: str,
        items: Sequence[Item],
        check: Callable[[Unchecked], None],
    ) -> Written:
        """Write all of them once `check` has let the active schema pass; it raises otherwise."""
        fits: Schema | None = None
        for _ in range(_ATTEMPTS):
            done = await self.write(install, namespace, items, fits)
            if isinstance(done, Written):
                return done
            check(done)
            fits = done.schema
        raise RuntimeError(f"the schema of {namespace} never rests")

    async def remove(self, install: str, namespace: str, key: str) -> None:
        """Delete a record and all that has expired."""
        parameters = {"install": install, "namespace": namespace, "key": key}
        async with self._changing(install) as connection:
            await connection.execute(DELETE_RECORD, parameters)
            await connection.execute(DELETE_EXPIRED, parameters)
            await connection.execute(UPDATE_USAGE, parameters)

    async def sweep(self, install: str) -> None:
        """Delete all that has expired."""
        parameters = {"install": install}
        async with self._changing(install) as connection:
            await connection.execute(DELETE_EXPIRED, parameters)
            await connection.execute(UPDATE_USAGE, parameters)

    @asynccontextmanager
    async def _alone(self, install: str) -> AsyncIterator[None]:
        """No other write to the install comes between."""
        import psycopg

        lock = self._writing.setdefault(install.lower(), asyncio.Lock())
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                await lock.acquire()
        except TimeoutError:
            raise psycopg.OperationalError("writes before this one do not end") from None
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def _changing(self, install: str) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
        """A transaction that no other write to the install comes between."""
        async with (
            self._alone(install),
            acquire(self._pool) as connection,
            connection.transaction(),
        ):
            yield connection

    async def _rows(self, statement: LiteralString, values: RecordRow) -> list[dict[str, Any]]:
        async with acquire(self._pool) as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall()


def _fields(item: Item) -> dict[str, object]:
    value, metadata = sizes(item)
    return {
        "key": item.key,
        "value": item.value,
        "metadata": item.metadata,
        "value_bytes": value,
        "metadata_bytes": metadata,
        "ttl": item.ttlSeconds or None,
        "revision": None if item.ifRevision < 0 else item.ifRevision,
    }


def _usable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not rows:
        raise ApiError("NOT_FOUND", "extension install not found")
    if rows[0].get("enabled") is False or rows[0].get("word") == "disabled":
        raise ApiError("UNAUTHORIZED", "extension install is disabled")
    return rows


def _write_error(word: str, namespace: str, attempted: int) -> ApiError:
    match word:
        case "revision":
            return ApiError("REVISION_MISMATCH", REVISION_MISMATCH)
        case "keys":
            return ApiError("QUOTA_EXCEEDED", f"namespace {namespace} exceeded key quota")
        case "namespaces":
            return ApiError("QUOTA_EXCEEDED", "namespace quota exceeded")
        case _:
            details = {"limit": MAX_TOTAL_BYTES, "attempted": attempted}
            return ApiError("QUOTA_EXCEEDED", "total storage quota exceeded", details)
