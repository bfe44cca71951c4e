"""The product's audit of calls: a row of `extension_execution_log` before the runner is asked.

A call whose row cannot be written is refused, as in the product. Rows of calls that come at the
same time are written by one statement; results are added a little later, many at once. The
database need not have these rows on its disk before a call goes on: it survives their loss when
the machine goes down.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, LiteralString

from algaenv.gateway.db import query
from algaenv.gateway.runner_client import (
    HandlerResult,
    RunnerOutcome,
    RunnerRefused,
    RunnerTimedOut,
    RunnerUnreachable,
)

if TYPE_CHECKING:
    from algaenv.gateway.db import Pool
    from algaenv.gateway.installs import Endpoint, Install
    from algaenv.gateway.users import User

_FIRST_ERROR_STATUS = 400
_BAD_GATEWAY = 502
_MAX_PATH = 2_000
"""Characters kept of a path."""
MAX_REQUEST_ID = 255
"""Characters that the column takes."""
CLOSE_SECONDS = 3.0
_ENDS_SECONDS = 0.1
"""How long the end of a call may wait for others to be written with."""

INSERT_STARTED: LiteralString = """
WITH async_commit AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO extension_execution_log
  (id, tenant_id, registry_id, version_id, request_id, started_at, status, metrics)
SELECT it.id, it.tenant, it.registry, it.version, it.request, clock_timestamp(), 'started',
  it.metrics
FROM async_commit CROSS JOIN jsonb_to_recordset(%(rows)s::jsonb)
  AS it(id uuid, tenant text, registry uuid, version uuid, request text, metrics jsonb)
ON CONFLICT DO NOTHING"""
UPDATE_ENDED: LiteralString = """
WITH async_commit AS (SELECT set_config('synchronous_commit', 'off', true))
UPDATE extension_execution_log log SET
  finished_at = clock_timestamp() - it.age * interval '1 second', status = it.status,
  error = it.error, metrics = log.metrics || it.metrics
FROM async_commit CROSS JOIN jsonb_to_recordset(%(rows)s::jsonb)
  AS it(id uuid, status text, error text, metrics jsonb, age double precision)
WHERE log.id = it.id AND it.status = lower(it.status)"""
"""The last condition always holds. It has the planner count on one row instead of a hundred, for
which it would read all of a table that was small when the statement was prepared."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """The row of one call."""

    install: Install
    endpoint: Endpoint
    user: User
    request_id: str
    method: str
    path: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def row(self) -> dict[str, object]:
        """As it begins."""
        return {
            "id": self.id,
            "tenant": self.install.tenant,
            "registry": self.install.registry_id,
            "version": self.install.version_id,
            "request": self.request_id,
            "metrics": {
                "method": self.method,
                "path": _json_safe(self.path),
                "endpoint_template": self.endpoint.path,
                "principal_kind": "client" if self.user.is_client else "msp",
                "user_id": self.user.id,
            },
        }


class AuditLog:
    """Writes the rows; for one event loop."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._starting: list[tuple[AuditEntry, asyncio.Future[None]]] = []
        self._start_writer: asyncio.Task[None] | None = None
        self._ending: list[tuple[float, dict[str, object]]] = []
        self._end_writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def begin(self, entry: AuditEntry) -> None:
        """Return when the row is there. Raises psycopg.Error when it cannot be written."""
        written = asyncio.get_running_loop().create_future()
        self._starting.append((entry, written))
        if self._start_writer is None:
            self._start_writer = asyncio.create_task(self._write_begins())
        await written

    def end(
        self, entry: AuditEntry, outcome: RunnerOutcome | None, *, usable: bool, ms: float
    ) -> None:
        """Queue the result, after `ms` milliseconds; what a handler answers may not be usable."""
        word, error, status = _outcome(outcome, usable=usable)
        metrics = (
            {"duration_ms": ms} if status is None else {"http_status": status, "duration_ms": ms}
        )
        row: dict[str, object] = {
            "id": entry.id,
            "status": word,
            "error": error,
            "metrics": metrics,
        }
        self._ending.append((time.monotonic(), row))
        if self._end_writer is None:
            self._end_writer = asyncio.create_task(self._write_ends())

    async def aclose(self) -> None:
        """Write the rest within CLOSE_SECONDS; a database that does not answer blocks no longer."""
        self._closing.set()
        writing = [task for task in (self._start_writer, self._end_writer) if task is not None]
        if writing:
            await asyncio.wait(writing, timeout=CLOSE_SECONDS)

    async def _write_begins(self) -> None:
        try:
            while self._starting:
                starting, self._starting = self._starting, []
                await self._begin(starting)
        finally:
            self._start_writer = None

    async def _write_ends(self) -> None:
        try:
            while self._ending:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _ENDS_SECONDS)
                ending, self._ending = self._ending, []
                await self._end(ending)
        finally:
            self._end_writer = None

    async def _begin(self, entries: list[tuple[AuditEntry, asyncio.Future[None]]]) -> None:
        try:
            await self._execute(INSERT_STARTED, [entry.row for entry, _ in entries])
        except Exception as error:
            for _, written in entries:
                if not written.done():
                    written.set_exception(error)
            return
        for _, written in entries:
            if not written.done():
                written.set_result(None)

    async def _end(self, ended: list[tuple[float, dict[str, object]]]) -> None:
        now = time.monotonic()
        rows = [row | {"age": now - at} for at, row in ended]
        try:
            await self._execute(UPDATE_ENDED, rows)
        except Exception as error:
            # Their callers have been answered; the rows go on to say `started`.
            fields = {"rows": len(rows), "why": f"{type(error).__name__}: {error}"}
            _log.warning("the end of calls is not in the audit", extra={"fields": fields})

    async def _execute(self, statement: LiteralString, rows: list[dict[str, object]]) -> None:
        await query(self._pool, statement, {"rows": json.dumps(rows)})


def _outcome(outcome: RunnerOutcome | None, *, usable: bool) -> tuple[str, str | None, int | None]:
    """Word and error of the row, and the status; None is a call that never went out."""
    match outcome:
        case None:
            return "policy_denied", None, None
        case HandlerResult() if not usable:
            return "error", "runner_error", _BAD_GATEWAY
        case HandlerResult(status=status) if status >= _FIRST_ERROR_STATUS:
            return "upstream_error", "extension_error_status", status
        case HandlerResult(status=status):
            return "ok", None, status
        case RunnerTimedOut():
            return "timeout", "timeout", _BAD_GATEWAY
        case RunnerRefused(audit_error=error, audit_status=status):
            return "error", error, status
        case RunnerUnreachable():
            return "error", "runner_error", _BAD_GATEWAY


def _json_safe(text: str) -> str:
    """JSON of PostgreSQL holds neither U+0000 nor halves of surrogate pairs."""
    plain = text[:_MAX_PATH].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return plain.encode(errors="replace").decode()
