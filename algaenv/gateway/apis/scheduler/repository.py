"""Endpoints and schedules in their tables. Schedules name endpoints by row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.gateway.apis.scheduler.cron import InvalidField
from algaenv.gateway.db import acquire
from algaenv.gateway.javascript import WHITE, is_true, to_text, trim

if TYPE_CHECKING:
    from algaenv.gateway.db import Pool
    from algaenv.gateway.installs import Install


SCHEDULABLE = ("GET", "POST")

_SELECTOR = re.compile(rf"([A-Za-z]+)[{WHITE}]+([^\n\r\u2028\u2029]+)")
_SLASHES = re.compile("/{2,}")

_SELECT_ENDPOINTS = """
SELECT id::text, method, path, handler FROM extension_api_endpoint
WHERE version_id = %(version)s::uuid ORDER BY path, method"""

_SELECT_DECLARED = """
SELECT api_endpoints FROM extension_version WHERE id = %(version)s::uuid"""

_INSERT_ENDPOINTS = """
INSERT INTO extension_api_endpoint AS e (version_id, method, path, handler)
SELECT %(version)s::uuid, it.method, it.path, it.handler
FROM jsonb_to_recordset(%(endpoints)s::jsonb) AS it(method text, path text, handler text)
ON CONFLICT (version_id, method, path) DO UPDATE SET handler = excluded.handler, updated_at = now()
"""


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint of an installed version."""

    id: str
    method: str
    path: str
    handler: str

    @property
    def schedulable(self) -> bool:
        """Whether it can be called without path parameters."""
        return self.method in SCHEDULABLE and not set(":{}") & set(self.path)


class EndpointRepository:
    """Rows of `extension_api_endpoint`, made from the version's own list when they are missing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self, install: Install) -> list[EndpointRow]:
        """Those of the installed version, by path."""
        found = await self._select(install)
        if not found:
            await self._insert_missing(install)
            found = await self._select(install)
        return found

    async def find(self, install: Install, selector: str) -> EndpointRow | None:
        """What `/path` or `METHOD /path` names, if it can be scheduled."""
        match = _SELECTOR.fullmatch(trim(selector))
        methods = (match[1].upper(),) if match else SCHEDULABLE
        path = _normal_path(match[2] if match else selector)
        found = _matching(await self._select(install), methods, path)
        if found is None:
            await self._insert_missing(install)
            found = _matching(await self._select(install), methods, path)
        return found if found is not None and found.schedulable else None

    async def find_same(self, install: Install, method: str, path: str) -> EndpointRow | None:
        """The endpoint of the installed version that has this method and path."""
        return await self.find(install, f"{method} {path}")

    async def _select(self, install: Install) -> list[EndpointRow]:
        async with acquire(self._pool) as connection:
            cursor = await connection.execute(_SELECT_ENDPOINTS, {"version": install.version_id})
            return [_row(it) for it in await cursor.fetchall()]

    async def _insert_missing(self, install: Install) -> None:
        from psycopg.types.json import Jsonb

        values: dict[str, object] = {"version": install.version_id}
        async with acquire(self._pool) as connection:
            for row in await (await connection.execute(_SELECT_DECLARED, values)).fetchall():
                values["endpoints"] = Jsonb(_declared(row["api_endpoints"]))
                await connection.execute(_INSERT_ENDPOINTS, values)


def _declared(listed: object) -> list[dict[str, str]]:
    """What a version declares, callable or not; the last of several that are the same counts."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict):
            continue
        method, path, handler = (
            to_text(each.get(name)) if is_true(each.get(name)) else ""
            for name in ("method", "path", "handler")
        )
        row = {"method": method.upper(), "path": _normal_path(path), "handler": handler}
        if all(row.values()):
            found[row["method"], row["path"]] = row
    return list(found.values())


def _row(row: Mapping[str, Any]) -> EndpointRow:
    return EndpointRow(row["id"], row["method"].upper(), _normal_path(row["path"]), row["handler"])


def _matching(rows: list[EndpointRow], methods: tuple[str, ...], path: str) -> EndpointRow | None:
    return next((it for it in rows if it.path == path and it.method in methods), None)


def _normal_path(text: str) -> str:
    trimmed = trim(text)
    return _SLASHES.sub("/", f"/{trimmed}") if trimmed else ""


ScheduleRow = Mapping[str, Any]

_COLUMNS: LiteralString = """
SELECT s.id::text, s.install_id::text, s.name, s.cron, s.timezone, s.enabled, s.payload_json,
  s.last_run_at, s.last_run_status, s.last_error, s.created_at, s.updated_at,
  e.method, e.path, i.registry_id::text
FROM tenant_extension_schedule s JOIN extension_api_endpoint e ON e.id = s.endpoint_id
LEFT JOIN tenant_extension_install i ON i.id = s.install_id
"""

_OF_INSTALL: LiteralString = (
    _COLUMNS
    + """WHERE s.install_id = %(install)s::uuid AND s.tenant_id = %(tenant)s
  AND (%(id)s::uuid IS NULL OR s.id = %(id)s::uuid) ORDER BY s.created_at, s.id"""
)

_STORED: LiteralString = """
SELECT name, cron, timezone, enabled, payload_json FROM tenant_extension_schedule
WHERE id = %(id)s::uuid AND install_id = %(install)s::uuid AND tenant_id = %(tenant)s"""

_OF_TENANT: LiteralString = _COLUMNS + "WHERE s.tenant_id = %(tenant)s ORDER BY s.created_at, s.id"

_INSERT: LiteralString = """
INSERT INTO tenant_extension_schedule
  (install_id, tenant_id, endpoint_id, name, cron, timezone, enabled, payload_json)
VALUES (%(install)s::uuid, %(tenant)s, %(endpoint_id)s::uuid, %(name)s, %(cron)s, %(timezone)s,
  %(enabled)s, %(payload_json)s)
RETURNING id::text"""

_COUNT: LiteralString = """
SELECT count(*) AS count FROM tenant_extension_schedule
WHERE install_id = %(install)s::uuid AND tenant_id = %(tenant)s"""

_DELETE: LiteralString = """
DELETE FROM tenant_extension_schedule
WHERE id = %(id)s::uuid AND install_id = %(install)s::uuid AND tenant_id = %(tenant)s"""

_TOUCH_INSTALL: LiteralString = """
UPDATE tenant_extension_install SET updated_at = now() WHERE id = %(install)s::uuid"""

_UNIQUE_NAME = "tenant_extension_schedule_install_name_uniq"


@dataclass(frozen=True, slots=True)
class ScheduleColumns:
    """Columns to be written, by name. Of these only: nothing else gets into a statement."""

    columns: Mapping[str, object]

    NAMES = frozenset(("endpoint_id", "name", "cron", "timezone", "enabled", "payload_json"))

    def __post_init__(self) -> None:
        unknown = set(self.columns) - self.NAMES
        if unknown:
            raise ValueError(f"no columns of a schedule: {unknown}")

    def values(self) -> dict[str, object]:
        """As psycopg takes them."""
        from psycopg.types.json import Jsonb

        payload = self.columns.get("payload_json")
        json = {} if payload is None else {"payload_json": Jsonb(payload)}
        return {**self.columns, **json}


class ScheduleRepository:
    """Reads and writes them. Raises psycopg.Error, and InvalidField for a name that is taken."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self, install: Install) -> Sequence[ScheduleRow]:
        """Those of an install whose endpoint is still there, oldest first."""
        return await self._rows(_OF_INSTALL, _install_ids(install) | {"id": None})

    async def find(self, install: Install, schedule: str) -> ScheduleRow | None:
        """One of them."""
        rows = await self._rows(_OF_INSTALL, _install_ids(install) | {"id": schedule})
        return rows[0] if rows else None

    async def stored(self, install: Install, schedule: str) -> ScheduleRow | None:
        """What can be changed of one, also when its endpoint is gone."""
        rows = await self._rows(_STORED, _install_ids(install) | {"id": schedule})
        return rows[0] if rows else None

    async def of_tenant(self, tenant: str) -> Sequence[ScheduleRow]:
        """Those of every install."""
        return await self._rows(_OF_TENANT, {"tenant": tenant})

    async def count(self, install: Install) -> int:
        """How many there are, also of those whose endpoint is gone."""
        return int((await self._rows(_COUNT, _install_ids(install)))[0]["count"])

    async def add(self, install: Install, fields: ScheduleColumns) -> str:
        """Make one with all the columns; its id."""
        values = {**_install_ids(install), **fields.values()}
        return str((await self._change(_INSERT, values))[0]["id"])

    async def change(self, install: Install, schedule: str, fields: ScheduleColumns) -> bool:
        """Write these columns; whether there is such a schedule."""
        columns = "".join(f"{name} = %({name})s, " for name in sorted(fields.columns))
        statement = (
            f"UPDATE tenant_extension_schedule SET {columns}updated_at = now()"  # noqa: S608
            " WHERE id = %(id)s::uuid AND install_id = %(install)s::uuid"
            " AND tenant_id = %(tenant)s RETURNING id"
        )
        values = {**_install_ids(install), **fields.values(), "id": schedule}
        return bool(await self._change(statement, values))

    async def remove(self, install: Install, schedule: str) -> bool:
        """Delete one; whether there was such a schedule."""
        values = _install_ids(install) | {"id": schedule}
        return bool(await self._change(_DELETE + " RETURNING id", values))

    async def _rows(self, statement: LiteralString, values: ScheduleRow) -> list[dict[str, Any]]:
        async with acquire(self._pool) as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def _change(self, statement: LiteralString, values: ScheduleRow) -> list[dict[str, Any]]:
        """With the install stamped, as the product does it."""
        from psycopg.errors import UniqueViolation

        try:
            async with acquire(self._pool) as connection, connection.transaction():
                rows = await (await connection.execute(statement, values)).fetchall()
                await connection.execute(_TOUCH_INSTALL, values)
                return rows
        except UniqueViolation as error:
            if error.diag.constraint_name != _UNIQUE_NAME:
                raise
            raise InvalidField("name", "Schedule name already in use for this extension") from None


def _install_ids(install: Install) -> dict[str, object]:
    return {"install": install.install_id, "tenant": install.tenant}
