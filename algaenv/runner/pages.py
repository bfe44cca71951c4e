"""`GET /ext-ui/{extension}/{content hash}/{path}`: the files of an extension's page."""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from algaenv.bundle.digest import Digest
from algaenv.runner.answers import empty, text
from algaenv.runner.delivery import Delivery, Order
from algaenv.runner.headers import header
from algaenv.runner.journal import LINE, Line
from algaenv.runner.names import is_name
from algaenv.runner.registry import Registry
from algaenv.runner.target import BadUrl, Target, read_target, split
from algaenv.runner.tenancy import Tenancy

_CONTENT_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_METHODS = ("GET", "HEAD")
_SERVED = frozenset((200, 304))


class Pages(BaseRoute):
    """A route of its own kind, since it must split the path before it is decoded."""

    def __init__(
        self,
        *,
        demands_tenant: bool,
        asks_registry: bool,
        registry: Registry,
        tenancy: Tenancy,
        delivery: Delivery,
    ) -> None:
        self._demands_tenant = demands_tenant
        self._asks_registry = demands_tenant and asks_registry
        self._registry = registry
        self._tenancy = tenancy
        self._delivery = delivery

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Take every path of three parts below `/ext-ui/`."""
        if scope["type"] == "http" and (parts := split(scope["raw_path"])):
            return Match.FULL, {"path_params": {"parts": parts}}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["method"] in _METHODS:
            answer = await self._answer(scope)
        else:
            answer = empty(405, {"allow": ",".join(_METHODS)})
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        line: Line = scope[LINE]
        try:
            target = read_target(scope["path_params"]["parts"], scope["query_string"])
        except BadUrl as fault:
            return text(400, str(fault))
        line.extension = target.extension
        match = _CONTENT_HASH.fullmatch(target.content_hash)
        if match is None:
            return text(400, "invalid content hash")
        if not is_name(target.extension):
            return text(400, "invalid extension id")
        digest = Digest(match[1].lower())
        line.hash = digest.hex
        tenant = await self._tenancy.resolve(
            target.extension,
            digest,
            query=target.tenant,
            header=header(scope, b"x-tenant-id") or "",
            host=header(scope, b"host") or "",
        )
        line.tenant = tenant or None
        if tenant and not is_name(tenant):
            return text(400, "invalid tenant")
        if not await self._may_see(tenant, target):
            line.why = "registry denied"
            return empty(404)
        answer = await self._delivery.answer(
            Order(
                tenant=tenant,
                extension=target.extension,
                digest=digest,
                tail=target.tail,
                if_none_match=header(scope, b"if-none-match"),
                bodiless=scope["method"] == "HEAD",
            ),
            line,
        )
        if answer.status_code in _SERVED:
            self._tenancy.served(target.extension, digest, tenant)
        return answer

    async def _may_see(self, tenant: str, target: Target) -> bool:
        if not tenant:
            return not self._demands_tenant
        return not self._asks_registry or await self._registry.has(
            tenant, target.extension, target.content_hash
        )
