"""What extensions keep: `/storage`, records to read, edit and delete, and `/schedules`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import parse_qsl, urlencode

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from algaenv.bundle.layout import UUID_PATTERN
from algaenv.gateway.apis.api_endpoint import ApiError
from algaenv.gateway.apis.scheduler.loop import next_moment
from algaenv.gateway.apis.scheduler.repository import ScheduleRepository
from algaenv.gateway.apis.scheduler.runs import RunSkipped, ScheduleRunner
from algaenv.gateway.apis.storage.records import RecordRepository, Unchecked
from algaenv.gateway.apis.storage.requests import PutRequest, check_item, check_schema
from algaenv.gateway.db import query
from algaenv.gateway.javascript import parse_json
from algaenv.gateway.pages.calls import chosen_install
from algaenv.gateway.pages.rendering import Renderer, load_installs
from algaenv.serving.request_limits import BodyTooLarge, BodyTooSlow, read_body

if TYPE_CHECKING:
    from algaenv.gateway.installs import Install
    from algaenv.gateway.state import AppState

PAGE_SIZE = 50
_SEE_OTHER = 303
_MAX_FORM_BYTES = 512 * 1024

_NAMESPACES: LiteralString = """
SELECT namespace, count(*) AS keys, sum(value_size_bytes + metadata_size_bytes)::bigint AS bytes
FROM ext_storage_records
WHERE extension_install_id = %(install)s::uuid
  AND (ttl_expires_at IS NULL OR ttl_expires_at > now())
GROUP BY namespace ORDER BY namespace"""


class StoragePage:
    """Lists the records of an install, and changes them by the rules of the storage API."""

    def __init__(self, state: AppState, rendering: Renderer, records: RecordRepository) -> None:
        self._state = state
        self._rendering = rendering
        self._records = records

    async def respond(self, request: Request) -> Response:
        """The page, or what a form of it asks for."""
        return await (self.changed(request) if request.method == "POST" else self.shown(request))

    async def shown(self, request: Request, error: str = "") -> Response:
        """The namespaces of the extension in the query, and the records of the one in it."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        chosen = chosen_install(request, found)
        if chosen is None and len(found) == 1:
            chosen = found[0]
        namespace = request.query_params.get("namespace", "").replace("\0", "")
        prefix = request.query_params.get("prefix", "").replace("\0", "")
        namespaces: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        if chosen is not None:
            namespaces = await query(self._state.pool, _NAMESPACES, {"install": chosen.install_id})
            if not namespace and len(namespaces) == 1:
                namespace = namespaces[0]["namespace"]
            rows = await self._records.page(
                chosen.install_id,
                namespace,
                after=request.query_params.get("after", "").replace("\0", "") or None,
                prefix=prefix,
                limit=PAGE_SIZE + 1,
                values=True,
                metadata=True,
            )
        return self._rendering.page(
            "storage.html",
            400 if error else 200,
            here="storage",
            installs=found,
            chosen=chosen,
            namespaces=namespaces,
            namespace=namespace,
            prefix=prefix,
            records=rows[:PAGE_SIZE],
            after=rows[PAGE_SIZE - 1]["key"] if len(rows) > PAGE_SIZE else "",
            error=error,
        )

    async def changed(self, request: Request) -> Response:
        """Write or delete the record of the form, and show the namespace again."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        chosen = chosen_install(request, found)
        if chosen is None:
            return await self.shown(request, "no extension is chosen")
        try:
            namespace = await self._change(chosen, await _form(request))
        except (ApiError, ValueError) as error:
            return await self.shown(request, _reason(error))
        back = urlencode({"extension": chosen.registry_id, "namespace": namespace})
        return RedirectResponse(f"/storage?{back}", _SEE_OTHER)

    async def _change(self, install: Install, form: Mapping[str, str]) -> str:
        """The namespace. Raises ApiError and ValueError for what the storage API would refuse."""
        namespace, key = _text(form, "namespace"), _text(form, "key")
        if _text(form, "action") == "delete":
            await self._records.remove(install.install_id, namespace, key)
            return namespace
        ttl = _text(form, "ttl").strip()
        fields: dict[str, object] = {
            "operation": "put",
            "namespace": namespace,
            "key": key,
            "value": _json(_text(form, "value"), "the value"),
            **({"ttlSeconds": _json(ttl, "the time to live")} if ttl else {}),
        }
        if metadata := _text(form, "metadata").strip():
            fields["metadata"] = _json(metadata, "the metadata")
        if revision := _text(form, "revision"):
            fields["ifRevision"] = _json(revision, "the revision")
        item = PutRequest.model_validate(fields)
        check_item(item)

        def check(found: Unchecked) -> None:
            if found.schema is not None:
                check_schema(found.schema.document, [item.value])

        await self._records.write_fitting(install.install_id, namespace, [item], check)
        return namespace


def _text(form: Mapping[str, str], name: str) -> str:
    return form.get(name, "").replace("\0", "")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises ValueError for one that is too large or too slow."""
    try:
        body = await read_body(request, _MAX_FORM_BYTES)
    except (BodyTooLarge, BodyTooSlow):
        raise ValueError(f"the form has more than {_MAX_FORM_BYTES >> 10} KiB") from None
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _json(text: str, what: str) -> object:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON: {error}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in found[:5])
    if isinstance(error, ApiError):
        details = f" ({json.dumps(error.details)})" if error.details else ""
        return f"{error.message}{details}"
    return str(error)


class SchedulePage:
    """Lists the schedules of the tenant, and runs one at once."""

    def __init__(self, state: AppState, rendering: Renderer) -> None:
        self._state = state
        self._rendering = rendering
        self._schedules = ScheduleRepository(state.pool)
        self._runs = ScheduleRunner(state)

    async def shown(self, request: Request, ran: str = "", tone: str = "good") -> Response:  # noqa: ARG002
        """All of them with their latest runs."""
        found = await load_installs(self._state, self._rendering)
        if isinstance(found, Response):
            return found
        rows = await self._schedules.of_tenant(self._state.tenant)
        names = {it.registry_id: it.name for it in found}
        history: dict[str, list[Mapping[str, object]]] = {}
        for event in self._state.events.recent():
            if event["type"] == "schedule-ran":
                history.setdefault(str(event["schedule"]), []).insert(0, event)
        return self._rendering.page(
            "schedules.html",
            here="schedules",
            installs=found,
            schedules=[
                {
                    **row,
                    "extension": names.get(row["registry_id"], "removed"),
                    "next": next_moment(row, datetime.now(UTC)) if row["enabled"] else None,
                    "history": [
                        {**it, "moment": datetime.fromtimestamp(int(str(it["at"])) / 1000, UTC)}
                        for it in history.get(row["id"], ())
                    ][:20],
                }
                for row in rows
            ],
            ran=ran,
            tone=tone,
        )

    async def run(self, request: Request) -> Response:
        """Run the schedule of the path, wait for it, and show what came of it."""
        schedule = request.path_params["schedule_id"].lower()
        if not re.fullmatch(UUID_PATTERN, schedule):
            return await self.shown(request, "It was not run: there is no such schedule.", "warn")
        ended = await self._runs.run(schedule)
        if isinstance(ended, RunSkipped):
            return await self.shown(request, f"It was not run: {ended.reason}.", "warn")
        if ended.error:
            detail = f" ({ended.detail})" if ended.detail else ""
            return await self.shown(request, f"The run failed: {ended.error}{detail}.", "bad")
        return await self.shown(request, f"The run succeeded in {ended.ms:.0f} ms.")
