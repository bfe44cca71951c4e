"""The endpoints of a version as rows, which is how schedules name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from algaenv.gateway.pool import connected

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install
    from algaenv.gateway.pool import Pool

SCHEDULABLE = ("GET", "POST")

_SELECTOR = re.compile(r"([A-Za-z]+)\s+(.+)", re.DOTALL)
_SLASHES = re.compile("/{2,}")

_LIST = """
SELECT id::text, method, path, handler FROM extension_api_endpoint
WHERE version_id = %(version)s::uuid ORDER BY path, method"""

_MAKE = """
INSERT INTO extension_api_endpoint AS e (version_id, method, path, handler)
SELECT DISTINCT ON (2, 3) %(version)s::uuid, upper(it.method), it.path, it.handler
FROM jsonb_to_recordset(%(endpoints)s::jsonb) AS it(method text, path text, handler text)
ON CONFLICT (version_id, method, path) DO UPDATE SET handler = excluded.handler, updated_at = now()
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An endpoint of an installed version."""

    id: str
    method: str
    path: str
    handler: str

    @property
    def schedulable(self) -> bool:
        """Whether it can be called without anybody who would fill in a path."""
        return self.method in SCHEDULABLE and not set(":{}") & set(self.path)


class Endpoints:
    """Rows of `extension_api_endpoint`, made from the version's own list when they are missing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self, install: Install) -> list[Row]:
        """Those of the installed version, by path."""
        found = await self._list(install)
        if not found:
            await self._make(install)
            found = await self._list(install)
        return found

    async def find(self, install: Install, selector: str) -> Row | None:
        """What `/path` or `METHOD /path` names, if it can be scheduled."""
        match = _SELECTOR.fullmatch(selector.strip())
        methods = (match[1].upper(),) if match else SCHEDULABLE
        path = _path(match[2] if match else selector)
        found = _matching(await self._list(install), methods, path)
        if found is None:
            await self._make(install)
            found = _matching(await self._list(install), methods, path)
        return found if found is not None and found.schedulable else None

    async def twin(self, install: Install, method: str, path: str) -> Row | None:
        """The endpoint of the installed version that has this method and path."""
        return await self.find(install, f"{method} {path}")

    async def _list(self, install: Install) -> list[Row]:
        async with connected(self._pool) as connection:
            cursor = await connection.execute(_LIST, {"version": install.version_id})
            return [_row(it) for it in await cursor.fetchall()]

    async def _make(self, install: Install) -> None:
        from psycopg.types.json import Jsonb

        endpoints = [
            {"method": it.method, "path": _path(it.path), "handler": it.handler}
            for it in install.endpoints
            if it.handler
        ]
        async with connected(self._pool) as connection:
            values = {"version": install.version_id, "endpoints": Jsonb(endpoints)}
            await connection.execute(_MAKE, values)


def _row(row: Mapping[str, Any]) -> Row:
    return Row(row["id"], row["method"].upper(), _path(row["path"]), row["handler"])


def _matching(rows: list[Row], methods: tuple[str, ...], path: str) -> Row | None:
    return next((it for it in rows if it.path == path and it.method in methods), None)


def _path(text: str) -> str:
    trimmed = text.strip()
    return _SLASHES.sub("/", f"/{trimmed}") if trimmed else ""
