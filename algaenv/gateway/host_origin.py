"""Refuses requests of other sites' pages, since this service has no log-in.

A browser may be led here by any page it shows. Its Host header then names that page's server
(when DNS was bent towards this machine), or its Origin does. Runners use whatever name their
network gives this service, but send a token; their requests are not checked here.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from algaenv.gateway.responses import Problem, problem_response
from algaenv.gateway.rules import DIRECT_PREFIX as DIRECT
from algaenv.gateway.settings import GatewayConfig
from algaenv.serving.host_header import is_loopback

UNCHECKED_PATHS = ("/api/internal/", "/api/installs/", "/healthz", "/readyz")
"""Routes that need a token, or return nothing worth stealing."""

_CHECKED_HEADERS = frozenset((b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode"))
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class HostOriginMiddleware:
    """Wraps an application; answers 403 in its place."""

    def __init__(self, app: ASGIApp, config: GatewayConfig) -> None:
        self._app = app
        self._allowed = config.allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "http" and not scope["path"].startswith(UNCHECKED_PATHS):
            problem = self._problem(scope)
            if problem is not None:
                error = problem.code.removeprefix("gateway-").replace("-", "_")
                await problem_response(scope, 403, {"error": error}, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = _header_values(scope)
        host = headers.get("host", "")
        if not is_loopback(host):
            return Problem(
                "gateway-host-refused",
                f"cannot answer for the host {host[:100]!r}",
                "use localhost or 127.0.0.1, and forward a port to reach it from elsewhere",
            )
        origin = headers.get("origin")
        cross_site = headers.get("sec-fetch-site") == "cross-site" and (
            headers.get("sec-fetch-mode") != "navigate" or scope["path"].startswith("/api/")
        )
        if cross_site or (origin is not None and not self._origin_allowed(scope, origin, host)):
            return Problem(
                "gateway-origin-refused",
                f"cannot take calls from a page of {(origin or 'another site')[:100]!r}",
                "call from a page of this service, or list the origin in EXT_PROXY_ALLOWED_ORIGINS",
            )
        return None

    def _origin_allowed(self, scope: Scope, origin: str, host: str) -> bool:
        if origin == f"http://{host}" or origin in self._allowed:
            return True
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        if not is_loopback(netloc):
            return False
        # Any page may call the direct gateway of the product; here, any of this machine.
        return scope["path"].startswith(DIRECT) or scope["method"] in _SAFE_METHODS


def _header_values(scope: Scope) -> dict[str, str]:
    """The headers that count, by name; of one that comes twice, all values, so that neither is
    overlooked."""
    found: dict[str, list[str]] = {}
    for key, value in scope["headers"]:
        if key in _CHECKED_HEADERS:
            found.setdefault(key.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}
