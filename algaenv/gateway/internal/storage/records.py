"""Stored records in their table, with all that has to change together.

Writes to one install wait for each other here: the quota is counted by the statement that fills
it, and this process is the only one that writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString
from weakref import WeakValueDictionary

from algaenv.gateway.internal import jsontext
from algaenv.gateway.internal.refusal import Refused
from algaenv.gateway.internal.storage import limits
from algaenv.gateway.internal.storage import records_sql as sql
from algaenv.gateway.internal.storage.asked import Item, sizes
from algaenv.gateway.pool import STATEMENT_SECONDS, connected

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from algaenv.gateway.pool import Pool

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """What an active row says about the values of a namespace."""

    version: int
    document: Any


@dataclass(frozen=True, slots=True)
class Written:
    """Records as they are now, in the order in which they were given."""

    extension: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Nothing is written: the values must fit this schema, or None if there is none any more."""

    extension: str
    schema: Schema | None


class Records:
    """The records of every install. Raises Refused, and psycopg.Error as the database has it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def state(self, install: str) -> Row:
        """`install extension tenant_id stale` of an enabled install; `stale`: something expired."""
        return _usable(await self._rows(sql.STATE, {"install": install}))[0]

    async def look(self, install: str, namespace: str, key: str) -> Row:
        """One record with `extension stale`; its `key` is None if there is none."""
        asked = {"install": install, "namespace": namespace, "key": key}
        return _usable(await self._rows(sql.LOOK, asked))[0]

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
        asked = {
            "install": install,
            "namespace": namespace,
            "after": after,
            "prefix": escaped,
            "limit": limit,
            "values": values,
            "metadata": metadata,
        }
        return await self._rows(sql.PAGE, asked)

    async def write(
        self, install: str, namespace: str, items: Sequence[Item], fits: Schema | None
    ) -> Written | Unchecked:
        """Write all of them, unless there is another active schema than the one they fit."""
        asked = {
            "install": install,
            "namespace": namespace,
            "items": jsontext.write([_fields(item) for item in items]).decode(),
            "checked": fits.version if fits else None,
        }
        async with self._lock(install):
            rows = await self._rows(sql.WRITE, asked)
        first = _usable(rows)[0]
        match first["word"]:
            case "write":
                by_key = {row["key"]: row for row in rows}
                return Written(first["extension"], tuple(by_key[item.key] for item in items))
            case "schema":
                version = first["schema_version"]
                found = None if version is None else Schema(version, first["schema_document"])
                return Unchecked(first["extension"], found)
            case word:
                raise _refusal(word, namespace, int(first["bytes"]))

    async def remove(self, install: str, namespace: str, key: str) -> None:
        """Delete a record and all that has expired."""
        asked = {"install": install, "namespace": namespace, "key": key}
        async with self._changing(install) as connection:
            await connection.execute(sql.REMOVE, asked)
            await connection.execute(sql.SWEEP, asked)
            await connection.execute(sql.COUNT, asked)

    async def sweep(self, install: str) -> None:
        """Delete all that has expired."""
        asked = {"install": install}
        async with self._changing(install) as connection:
            await connection.execute(sql.SWEEP, asked)
            await connection.execute(sql.COUNT, asked)

    def _lock(self, install: str) -> asyncio.Lock:
        return self._writing.setdefault(install.lower(), asyncio.Lock())

    @asynccontextmanager
    async def _changing(self, install: str) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
        """A transaction that no other write to the install comes between."""
        import psycopg

        lock = self._lock(install)
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                await lock.acquire()
        except TimeoutError:
            raise psycopg.OperationalError("writes before this one do not end") from None
        try:
            async with connected(self._pool) as connection, connection.transaction():
                yield connection
        finally:
            lock.release()

    async def _rows(self, statement: LiteralString, values: Row) -> list[dict[str, Any]]:
        async with connected(self._pool) as connection:
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
        raise Refused("NOT_FOUND", "There is no such install")
    if rows[0].get("enabled") is False or rows[0].get("word") == "disabled":
        raise Refused("UNAUTHORIZED", "The install is disabled")
    return rows


def _refusal(word: str, namespace: str, attempted: int) -> Refused:
    match word:
        case "revision":
            return Refused("REVISION_MISMATCH", "The record has another revision than ifRevision")
        case "keys":
            most = limits.KEYS_IN_NAMESPACE
            return Refused("QUOTA_EXCEEDED", f"The namespace {namespace} has {most} keys already")
        case "namespaces":
            return Refused("QUOTA_EXCEEDED", f"There are {limits.NAMESPACES} namespaces already")
        case _:
            details = {"limit": limits.TOTAL_BYTES, "attempted": attempted}
            return Refused("QUOTA_EXCEEDED", "There is no room for so many bytes", details)
