"""`GET /`: from a host name to the page of the extension that lives there."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from algaenv.runner.answers import empty
from algaenv.runner.headers import header
from algaenv.runner.journal import LINE, Line
from algaenv.runner.names import is_name
from algaenv.runner.registry import NoAnswer, Registry

_FIELDS = ("tenant_id", "extension_id", "content_hash")


class HostDispatch:
    """Sends a browser to the page; 400 without a host, 404 for an unknown one, 502 otherwise."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def answer(self, request: Request) -> Response:
        """Answer `GET /`."""
        line: Line = request.scope[LINE]
        host = (header(request.scope, b"host") or "").partition(":")[0]
        if not host:
            return empty(400)
        try:
            reply = await self._registry.lookup(host)
        except NoAnswer as silence:
            line.why = f"registry: {silence}"
            return empty(502)
        if not reply.fine:
            return empty(404)
        found = [reply.fields.get(name) for name in _FIELDS] if reply.fields else []
        parts = [part for part in found if isinstance(part, str) and is_name(part)]
        if len(parts) != len(_FIELDS):
            line.why = "registry: not an installation"
            return empty(502)
        line.tenant, line.extension, _ = parts
        return empty(307, {"location": _page(*parts)})


def _page(tenant: str, extension: str, content_hash: str) -> str:
    query = urlencode({"tenant": tenant, "extensionId": extension})
    where = f"{quote(extension, safe=':')}/{quote(content_hash, safe=':')}"
    return f"/ext-ui/{where}/index.html?{query}"
