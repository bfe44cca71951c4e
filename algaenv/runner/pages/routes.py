"""`GET /ext-ui/{extension}/{content hash}/{path}`, the files of a page, and `GET /`.

`GET /` redirects from a host name to the page of the extension that is served there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from algaenv.bundle.digest import Digest
from algaenv.runner.bundle_store import is_key_segment
from algaenv.runner.http import empty_response, request_header, text_response
from algaenv.runner.observability.access_log import RequestLogEntry
from algaenv.runner.pages.assets import AssetDelivery, AssetRequest
from algaenv.runner.pages.tenancy import Registry, RegistryUnavailable, TenantResolver
from algaenv.serving.access_log import RECORD

PREFIX = b"/ext-ui/"
_PARTS = ("extension_id", "content_hash", "path")


class InvalidPageUrl(Exception):
    """The URL cannot be read; the text is for the client."""


@dataclass(frozen=True, slots=True)
class PageTarget:
    """The three parts of the path, decoded once, and the tenant of the query, if it has one."""

    extension: str
    content_hash: str
    path: str
    tenant: str | None


def split_path(raw_path: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split `/ext-ui/a/b/c…` before decoding, so that an encoded slash separates nothing.

    None when a part is missing or empty: there is nothing at such a path.
    """
    if not raw_path.startswith(PREFIX):
        return None
    parts = raw_path[len(PREFIX) :].split(b"/", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == len(_PARTS) and all(parts) else None


def read_target(parts: tuple[bytes, bytes, bytes], query: bytes) -> PageTarget:
    """Decode the parts. Raises InvalidPageUrl."""
    extension, content_hash, path = (
        _decode(part, name) for part, name in zip(parts, _PARTS, strict=True)
    )
    return PageTarget(extension, content_hash, path, _tenant(query) if query else None)


def _decode(part: bytes, name: str) -> str:
    try:
        return (unquote_to_bytes(part) if b"%" in part else part).decode()
    except UnicodeDecodeError:
        raise InvalidPageUrl(f"Invalid URL: Invalid UTF-8 in `{name}`") from None


def _tenant(query: bytes) -> str | None:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    for name in ("tenant", "path"):
        if sum(key == name for key, _ in pairs) > 1:
            raise InvalidPageUrl(f"Failed to deserialize query string: duplicate field `{name}`")
    return next((value for key, value in pairs if key == "tenant"), None)


_CONTENT_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_METHODS = ("GET", "HEAD")
_SERVED = frozenset((200, 304))


class PagesRoute(BaseRoute):
    """A route of its own kind, since it must split the path before it is decoded."""

    def __init__(
        self,
        *,
        demands_tenant: bool,
        asks_registry: bool,
        registry: Registry,
        tenancy: TenantResolver,
        delivery: AssetDelivery,
    ) -> None:
        self._demands_tenant = demands_tenant
        self._asks_registry = demands_tenant and asks_registry
        self._registry = registry
        self._tenancy = tenancy
        self._delivery = delivery

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Take every path of three parts below `/ext-ui/`."""
        if scope["type"] == "http" and (parts := split_path(scope["raw_path"])):
            return Match.FULL, {"path_params": {"parts": parts}}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["method"] in _METHODS:
            response = await self._respond(scope)
        else:
            response = empty_response(405, {"allow": ",".join(_METHODS)})
        await response(scope, receive, send)

    async def _respond(self, scope: Scope) -> Response:
        entry: RequestLogEntry = scope[RECORD]
        try:
            target = read_target(scope["path_params"]["parts"], scope["query_string"])
        except InvalidPageUrl as error:
            return text_response(400, str(error))
        entry.extension = target.extension
        match = _CONTENT_HASH.fullmatch(target.content_hash)
        if match is None:
            return text_response(400, "invalid content hash")
        if not is_key_segment(target.extension):
            return text_response(400, "invalid extension id")
        digest = Digest(match[1].lower())
        entry.hash = digest.hex
        tenant, hinted = await self._tenancy.resolve(
            target.extension,
            digest,
            query=target.tenant,
            header=request_header(scope, b"x-tenant-id") or "",
            host=request_header(scope, b"host") or "",
        )
        entry.tenant = tenant or None
        if tenant and not is_key_segment(tenant):
            return text_response(400, "invalid tenant")
        if not await self._is_allowed(tenant, target):
            entry.reason = "registry denied"
            return empty_response(404)
        response = await self._delivery.handle(
            AssetRequest(
                tenant=tenant,
                extension=target.extension,
                digest=digest,
                path=target.path,
                if_none_match=request_header(scope, b"if-none-match"),
                head_only=scope["method"] == "HEAD",
            ),
            entry,
        )
        if response.status_code in _SERVED:
            self._tenancy.record(target.extension, digest, tenant, hinted=hinted)
        return response

    async def _is_allowed(self, tenant: str, target: PageTarget) -> bool:
        if not tenant:
            return not self._demands_tenant
        return not self._asks_registry or await self._registry.is_installed(
            tenant, target.extension, target.content_hash
        )


_FIELDS = ("tenant_id", "extension_id", "content_hash")


class HostDispatch:
    """Sends a browser to the page; 400 without a host, 404 for an unknown one, 502 otherwise."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def handle(self, request: Request) -> Response:
        """Answer `GET /`."""
        entry: RequestLogEntry = request.scope[RECORD]
        host = (request_header(request.scope, b"host") or "").partition(":")[0]
        if not host:
            return empty_response(400)
        try:
            reply = await self._registry.lookup(host)
        except RegistryUnavailable as error:
            entry.reason = f"registry: {error}"
            return empty_response(502)
        if not reply.ok:
            return empty_response(404)
        values = [reply.fields.get(name) for name in _FIELDS] if reply.fields else []
        parts = [part for part in values if isinstance(part, str) and is_key_segment(part)]
        if len(parts) != len(_FIELDS):
            entry.reason = "registry: not an installation"
            return empty_response(502)
        entry.tenant, entry.extension, _ = parts
        return empty_response(307, {"location": _page_url(*parts)})


def _page_url(tenant: str, extension: str, content_hash: str) -> str:
    query = urlencode({"tenant": tenant, "extensionId": extension})
    where = f"{quote(extension, safe=':')}/{quote(content_hash, safe=':')}"
    return f"/ext-ui/{where}/index.html?{query}"
