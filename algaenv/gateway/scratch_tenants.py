"""Scratch tenants: a tenant for one test, with installs of its own of all extensions.

A scratch tenant shares versions and bundles with the tenant of the environment, and nothing else:
records, schedules, configuration, secrets, invoices and the audit hang on its own installs. A
request acts for it when it names it in the header `x-algaenv-tenant`. It stays until it is
deleted. Its row in `tenants` is marked by its e-mail address, which names the owner, too: so a
later run finds what a killed one has left.

They exist only where `ALGAENV_SCRATCH_TENANTS` is `true`: beside a database and a runner of
algaenv's own.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from algaenv.bundle.layout import UUID_PATTERN, install_id
from algaenv.gateway.db import acquire, query
from algaenv.gateway.javascript import dump_json, iso_timestamp
from algaenv.gateway.responses import Problem, json_response, problem_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

    from algaenv.gateway.apis.invoicing import InvoicingApi
    from algaenv.gateway.apis.outbound_http import OutboundHttpApi
    from algaenv.gateway.apis.scheduler.repository import ScheduleRepository
    from algaenv.gateway.apis.storage.api import StorageApi
    from algaenv.gateway.db import Pool
    from algaenv.gateway.installs import Installs
    from algaenv.gateway.state import AppState

TENANT_HEADER = "x-algaenv-tenant"
OWNER_PATTERN = r"[A-Za-z0-9.-]{1,100}"
"""Whatever tells the caller later whether the owner is still there."""

request_tenant: ContextVar[str | None] = ContextVar("request_tenant", default=None)
"""The scratch tenant that the request at hand acts for; None: that of the environment."""

MAX_BODY_BYTES = 64 << 20
_HEADER = TENANT_HEADER.encode()
_UUID = re.compile(UUID_PATTERN)

# The mark: an address that nobody can have, since `.invalid` never is a domain.
_MARKED: LiteralString = "email LIKE 'scratch+%%@algaenv.invalid'"
_INSERT_TENANT: LiteralString = """
INSERT INTO tenants (tenant, client_name, email, product_code, created_at, updated_at)
SELECT %(tenant)s::uuid, client_name, 'scratch+' || %(owner)s || '@algaenv.invalid', product_code,
  clock_timestamp(), clock_timestamp()
FROM tenants WHERE tenant = %(main)s::uuid RETURNING tenant"""
_IDS: LiteralString = "jsonb_to_recordset(%(ids)s::jsonb) AS ids(made uuid, source uuid)"
_INSERT_INSTALLS: LiteralString = f"""
INSERT INTO tenant_extension_install (id, tenant_id, registry_id, version_id, granted_caps, config,
  is_enabled, status, runner_status)
SELECT ids.made, %(tenant)s, registry_id, version_id, granted_caps, config, is_enabled, status,
  '{{"state": "ready", "scratch": true}}'
FROM {_IDS} JOIN tenant_extension_install i ON i.id = ids.source RETURNING id"""  # noqa: S608
_INSERT_CONFIGS: LiteralString = f"""
INSERT INTO tenant_extension_install_config (install_id, tenant_id, config, providers)
SELECT ids.made, %(tenant)s, c.config, c.providers
FROM {_IDS} JOIN tenant_extension_install_config c ON c.install_id = ids.source"""  # noqa: S608
_INSERT_SECRETS: LiteralString = f"""
INSERT INTO tenant_extension_install_secrets (install_id, tenant_id, ciphertext, algorithm,
  transit_key, transit_mount, version, expires_at)
SELECT ids.made, %(tenant)s, s.ciphertext, s.algorithm, s.transit_key, s.transit_mount,
  gen_random_uuid()::text, s.expires_at
FROM {_IDS} JOIN tenant_extension_install_secrets s ON s.install_id = ids.source"""  # noqa: S608
_DELETE_TENANT: LiteralString = (
    f"DELETE FROM tenants WHERE tenant = %(tenant)s::uuid AND {_MARKED} RETURNING tenant"  # noqa: S608
)
_DELETE_ROWS: tuple[LiteralString, ...] = (
    "DELETE FROM ext_storage_records WHERE tenant = %(tenant)s::uuid",
    "DELETE FROM ext_storage_schemas WHERE tenant = %(tenant)s::uuid",
    "DELETE FROM ext_storage_usage WHERE tenant = %(tenant)s::uuid",
    "DELETE FROM tenant_extension_schedule WHERE tenant_id = %(tenant)s",
    "DELETE FROM extension_execution_log WHERE tenant_id = %(tenant)s",
    "DELETE FROM extension_quota_usage WHERE tenant_id = %(tenant)s",
    "DELETE FROM tenant_extension_install WHERE tenant_id = %(tenant)s",
)
"""Configuration, secrets and subscriptions go with their install."""
_SELECT: LiteralString = f"""
SELECT tenant::text, substring(email FROM 'scratch[+](.*)@') AS owner, created_at
FROM tenants WHERE {_MARKED} ORDER BY created_at, tenant"""  # noqa: S608
_EXISTS: LiteralString = f"""
SELECT 1 FROM tenants WHERE tenant = %(tenant)s::uuid AND {_MARKED}"""  # noqa: S608


class TenantAbsent(Exception):
    """The tenant of the environment has no row, so nothing can be copied from it."""


class ScratchTenants:
    """Makes, lists and deletes them. Every method raises psycopg.Error as the database has it."""

    def __init__(self, pool: Pool, installs: Installs, tenant: str) -> None:
        """`tenant` is that of the environment, whose installs are copied."""
        self._pool = pool
        self._installs = installs
        self._tenant = tenant
        self._known: set[str] = set()

    async def create(self, owner: str) -> dict[str, Any]:
        """Make one in a transaction: `{"tenant", "extensions": [{"id", "slug", "install"}]}`.

        Raises TenantAbsent.
        """
        tenant = str(uuid.uuid4())
        found = await self._installs.all()
        made = {it.install_id: install_id(tenant, it.publisher, it.name) for it in found}
        ids = [{"made": made[it.install_id], "source": it.install_id} for it in found]
        values = {
            "tenant": tenant,
            "main": self._tenant,
            "owner": owner,
            "ids": dump_json(ids).decode(),
        }
        async with acquire(self._pool) as connection, connection.transaction():
            cursor = await connection.execute(_INSERT_TENANT, values)
            if await cursor.fetchone() is None:
                raise TenantAbsent
            for statement in (_INSERT_INSTALLS, _INSERT_CONFIGS, _INSERT_SECRETS):
                await connection.execute(statement, values)
        self._known.add(tenant)
        extensions = [
            {"id": it.registry_id, "slug": it.slug, "install": made[it.install_id]} for it in found
        ]
        return {"tenant": tenant, "extensions": extensions}

    async def all(self) -> list[dict[str, Any]]:
        """`tenant owner createdAt` of each, oldest first."""
        rows = await query(self._pool, _SELECT, {})
        return [
            {
                "tenant": row["tenant"],
                "owner": row["owner"],
                "createdAt": iso_timestamp(row["created_at"]),
            }
            for row in rows
        ]

    async def exists(self, tenant: str) -> bool:
        """Whether this is a scratch tenant; never true for any other."""
        if tenant in self._known:
            return True
        if not _UUID.fullmatch(tenant):
            return False
        if await query(self._pool, _EXISTS, {"tenant": tenant}):
            self._known.add(tenant)
        return tenant in self._known

    async def delete(self, tenant: str) -> bool:
        """Delete it with all its rows. False for what is no scratch tenant, which is left alone."""
        self._known.discard(tenant)
        if not _UUID.fullmatch(tenant):
            return False
        values: Mapping[str, object] = {"tenant": tenant}
        async with acquire(self._pool) as connection, connection.transaction():
            if await (await connection.execute(_DELETE_TENANT, values)).fetchone() is None:
                return False
            for statement in _DELETE_ROWS:
                await connection.execute(statement, values)
        return True


class ScratchTenantMiddleware:
    """Wraps an application: a request with the header acts for the tenant that it names."""

    def __init__(self, app: ASGIApp, tenants: ScratchTenants | None) -> None:
        """`tenants`: None where there are none, so that every name is unknown."""
        self._app = app
        self._tenants = tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application; 404 for a tenant that is no scratch tenant."""
        named = None
        if scope["type"] == "http":
            named = next((value for name, value in scope["headers"] if name == _HEADER), None)
        if named is None:
            await self._app(scope, receive, send)
            return
        import psycopg

        tenant = named.decode("latin-1").strip().lower()
        try:
            known = self._tenants is not None and await self._tenants.exists(tenant)
        except psycopg.Error:
            answer = json_response(503, {"error": "database_unavailable"})
            await answer(scope, receive, send)
            return
        if not known:
            problem = Problem(
                "gateway-tenant-unknown",
                f"cannot act for the tenant {tenant[:40]!r}: it is no scratch tenant",
                f"make one with POST /algaenv/tenants, or leave {TENANT_HEADER} out",
            )
            answer = problem_response(scope, 404, {"error": "tenant_unknown"}, problem)
            await answer(scope, receive, send)
            return
        token = request_tenant.set(tenant)
        try:
            await self._app(scope, receive, send)
        finally:
            request_tenant.reset(token)


class ScratchEndpoints:
    """`/algaenv/tenants`, and what a test does in its tenant beside calls."""

    def __init__(
        self,
        state: AppState,
        outbound: OutboundHttpApi,
        storage: StorageApi,
        invoicing: InvoicingApi,
        schedules: ScheduleRepository,
    ) -> None:
        assert state.scratch is not None  # noqa: S101
        self._state, self._tenants = state, state.scratch
        self._outbound, self._storage = outbound, storage
        self._invoicing, self._schedules = invoicing, schedules

    def routes(self) -> list[Route]:
        """All of them; those below a tenant act for it without the header."""
        from starlette.routing import Route

        root, one = "/algaenv/tenants", "/algaenv/tenants/{tenant}"
        return [
            Route(root, self._list),
            Route(root, self._create, methods=["POST"]),
            Route(one, self._delete, methods=["DELETE"]),
            Route(f"{one}/http", self._exchanges),
            Route(f"{one}/http", self._prepare, methods=["POST"]),
            Route(f"{one}/storage/{{install}}", self._store, methods=["POST"]),
            Route(f"{one}/schedules", self._run_span, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:  # noqa: ARG002
        return json_response(200, {"tenants": await self._tenants.all()})

    async def _create(self, request: Request) -> Response:
        owner = (await _fields(request)).get("owner", "")
        if not isinstance(owner, str) or not re.fullmatch(OWNER_PATTERN, owner):
            return _invalid(f"owner: does not match {OWNER_PATTERN}")
        try:
            return json_response(201, await self._tenants.create(owner))
        except TenantAbsent:
            return json_response(409, {"error": "the environment has no tenant; run algaenv up"})

    async def _delete(self, request: Request) -> Response:
        tenant = request.path_params["tenant"]
        self._outbound.forget(tenant)
        self._invoicing.forget(tenant)
        found = await self._tenants.delete(tenant)
        return json_response(200 if found else 404, {"deleted": found})

    async def _exchanges(self, request: Request) -> Response:
        tenant = await self._named(request)
        return json_response(200, self._outbound.report(tenant))

    async def _prepare(self, request: Request) -> Response:
        from pydantic import ValidationError

        from algaenv.gateway.apis.outbound_http import PreparedResponse

        tenant = await self._named(request)
        try:
            response = PreparedResponse.model_validate(await _fields(request))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            return _invalid(
                "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in found)
            )
        self._outbound.prepare(tenant, response)
        return json_response(201, {})

    async def _store(self, request: Request) -> Response:
        """The storage API for an install of the tenant, as a handler has it."""
        from algaenv.gateway.apis.api_endpoint import ApiCall, ApiError, InvalidBody, to_http

        tenant = await self._named(request)
        call = ApiCall(request.path_params["install"], await _fields(request))
        install = await self._state.installs.get(call.install_id)
        if install is None or install.tenant != tenant:
            return json_response(404, {"error": "the tenant has no such install"})
        try:
            answer = await self._storage.handle(call)
        except (ApiError, InvalidBody) as error:
            answer = self._storage.refusal(error)
        return to_http(answer)

    async def _run_span(self, request: Request) -> Response:
        """Make the runs that are due after `since` and up to `until`."""
        from algaenv.gateway.apis.scheduler.loop import MAX_SPAN_RUNS, TooManyRuns, run_span

        tenant = await self._named(request)
        fields = await _fields(request)
        try:
            since, until = (datetime.fromisoformat(str(fields[it])) for it in ("since", "until"))
        except (KeyError, ValueError):
            return _invalid("since, until: not two times of ISO 8601")
        if since.tzinfo is None or until.tzinfo is None:
            return _invalid("since, until: without an offset from UTC")
        token = request_tenant.set(tenant)
        try:
            ran = await run_span(self._state, self._schedules, since, until)
        except TooManyRuns:
            return _invalid(f"since, until: more than {MAX_SPAN_RUNS} runs are due")
        finally:
            request_tenant.reset(token)
        return json_response(200, {"runs": ran})

    async def _named(self, request: Request) -> str:
        """The tenant of the path. Raises HTTPException (404)."""
        from starlette.exceptions import HTTPException

        tenant: str = request.path_params["tenant"]
        if not await self._tenants.exists(tenant):
            raise HTTPException(404)
        return tenant


async def _fields(request: Request) -> dict[str, Any]:
    """The body, an object; empty for anything else. A large one is for its sender to bear."""
    import json

    from starlette.exceptions import HTTPException

    from algaenv.serving.request_limits import BodyTooLarge, BodyTooSlow, read_body

    try:
        found = json.loads(await read_body(request, MAX_BODY_BYTES))
    except (ValueError, RecursionError):
        return {}
    except BodyTooLarge:
        raise HTTPException(413) from None
    except BodyTooSlow:
        raise HTTPException(408) from None
    return found if isinstance(found, dict) else {}


def _invalid(message: str) -> Response:
    return json_response(400, {"error": message})
