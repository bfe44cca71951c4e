"""Schedules in their table. Those of one install are counted and named apart from all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.gateway.internal.scheduler.rules import BadField
from algaenv.gateway.pool import connected

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install
    from algaenv.gateway.pool import Pool

Row = Mapping[str, Any]

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

_OF_TENANT: LiteralString = _COLUMNS + "WHERE s.tenant_id = %(tenant)s ORDER BY s.created_at, s.id"

_ADD: LiteralString = """
INSERT INTO tenant_extension_schedule
  (install_id, tenant_id, endpoint_id, name, cron, timezone, enabled, payload_json)
VALUES (%(install)s::uuid, %(tenant)s, %(endpoint_id)s::uuid, %(name)s, %(cron)s, %(timezone)s,
  %(enabled)s, %(payload_json)s)
RETURNING id::text"""

_COUNT: LiteralString = """
SELECT count(*) AS count FROM tenant_extension_schedule
WHERE install_id = %(install)s::uuid AND tenant_id = %(tenant)s"""

_REMOVE: LiteralString = """
DELETE FROM tenant_extension_schedule
WHERE id = %(id)s::uuid AND install_id = %(install)s::uuid AND tenant_id = %(tenant)s"""

_TOUCH: LiteralString = """
UPDATE tenant_extension_install SET updated_at = now() WHERE id = %(install)s::uuid"""

_NAME_TAKEN = "tenant_extension_schedule_install_name_uniq"


@dataclass(frozen=True, slots=True)
class Fields:
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


class Schedules:
    """Reads and writes them. Raises psycopg.Error, and BadField for a name that is taken."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self, install: Install) -> Sequence[Row]:
        """Those of an install whose endpoint is still there, oldest first."""
        return await self._rows(_OF_INSTALL, _names(install) | {"id": None})

    async def find(self, install: Install, schedule: str) -> Row | None:
        """One of them."""
        rows = await self._rows(_OF_INSTALL, _names(install) | {"id": schedule})
        return rows[0] if rows else None

    async def of_tenant(self, tenant: str) -> Sequence[Row]:
        """Those of every install."""
        return await self._rows(_OF_TENANT, {"tenant": tenant})

    async def count(self, install: Install) -> int:
        """How many there are, also of those whose endpoint is gone."""
        return int((await self._rows(_COUNT, _names(install)))[0]["count"])

    async def add(self, install: Install, fields: Fields) -> str:
        """Make one with all the columns; its id."""
        values = {**_names(install), **fields.values()}
        return str((await self._change(_ADD, values))[0]["id"])

    async def change(self, install: Install, schedule: str, fields: Fields) -> bool:
        """Write these columns; whether there is such a schedule."""
        columns = "".join(f"{name} = %({name})s, " for name in sorted(fields.columns))
        statement = (
            f"UPDATE tenant_extension_schedule SET {columns}updated_at = now()"  # noqa: S608
            " WHERE id = %(id)s::uuid AND install_id = %(install)s::uuid"
            " AND tenant_id = %(tenant)s RETURNING id"
        )
        values = {**_names(install), **fields.values(), "id": schedule}
        return bool(await self._change(statement, values))

    async def remove(self, install: Install, schedule: str) -> bool:
        """Delete one; whether there was such a schedule."""
        values = _names(install) | {"id": schedule}
        return bool(await self._change(_REMOVE + " RETURNING id", values))

    async def _rows(self, statement: LiteralString, values: Row) -> list[dict[str, Any]]:
        async with connected(self._pool) as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def _change(self, statement: LiteralString, values: Row) -> list[dict[str, Any]]:
        """With the install stamped, as the product does it."""
        from psycopg.errors import UniqueViolation

        try:
            async with connected(self._pool) as connection, connection.transaction():
                rows = await (await connection.execute(statement, values)).fetchall()
                await connection.execute(_TOUCH, values)
                return rows
        except UniqueViolation as error:
            if error.diag.constraint_name != _NAME_TAKEN:
                raise
            raise BadField("name", "Another schedule of this extension has the name") from None


def _names(install: Install) -> dict[str, object]:
    return {"install": install.install_id, "tenant": install.tenant}
