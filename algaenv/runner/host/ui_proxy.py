"""`ui-proxy`: requests that the extension's own pages could make, made by its handler."""

from __future__ import annotations

import logging
from urllib.parse import quote, urlsplit

from algaenv.runner.execute.invocation import CAP_UI_PROXY, Invocation
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.outbound import (
    InvalidHeader,
    NoResponse,
    Outbound,
    PeerRequest,
    header_pair,
    send_request,
)
from algaenv.runner.wasm.wit import Err

_PATH_KEEPS = "!$&'()*+,:;=@[]|~"
"""All other characters than these, digits, letters and `-._` are encoded; so is `%`, again."""
_QUERY_KEEPS = "!$%&()*+,/:;=?@[\\]^`{|}~"
_DOTS = frozenset((".", ".."))


class InvalidRoute(Exception):
    """Empty, or it tries to leave its place."""


def route_url(base: str, extension: str, route: str) -> str:
    """The URL of `route` below `base`, whose own query is dropped. Raises InvalidRoute.

    A route of the platform's API (`/api/…`) lies directly below the base, another one below the
    extension's id. Empty segments are dropped; the query stays as it is.
    """
    route = route.strip()
    if not route:
        raise InvalidRoute
    path, _, query = route.partition("?")
    segments = [segment for segment in path.split("/") if segment]
    if _DOTS.intersection(segments):
        raise InvalidRoute
    if not path.startswith(("/api/", "api/")) and extension and extension not in _DOTS:
        segments.insert(0, extension)
    parts = urlsplit(base)
    below = "".join("/" + quote(segment, safe=_PATH_KEEPS) for segment in segments)
    asked = f"?{quote(query, safe=_QUERY_KEEPS)}" if query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/')}{below}{asked}"


_log = logging.getLogger(__name__)

API_KEY = "api_key"
"""The secret that goes along as `x-api-key`, whether or not the handler may read secrets."""

_NAMES = {401: "denied", 403: "denied", 429: "denied", 404: "route-not-found"}


class UiProxy:
    """Asks the base that the environment names, in the name of the tenant and the user."""

    def __init__(self, host_settings: HostSettings, outbound: Outbound) -> None:
        self._base = host_settings.ui_proxy
        self._seconds = host_settings.ui_proxy_seconds
        self._outbound = outbound

    def call_route(self, invocation: Invocation, route: str, payload: bytes | None) -> bytes | Err:
        """The body of the response; GET without a payload, POST with one."""
        if CAP_UI_PROXY not in invocation.capabilities:
            return Err("denied")
        if self._base is None:
            return Err("route-not-found")
        try:
            request = PeerRequest(
                "GET" if payload is None else "POST",
                route_url(self._base, invocation.extension, route),
                _headers(invocation, has_payload=payload is not None),
                payload,
            )
            response = invocation.wait(send_request(self._outbound, request, seconds=self._seconds))
        except InvalidRoute:
            return Err("bad-request")
        except InvalidHeader:
            return _failed(invocation, "a header that cannot be sent")
        except NoResponse as error:
            return _failed(invocation, str(error))
        if not response.complete:
            return _failed(invocation, "cut short")
        if response.ok:
            return response.body
        other = "bad-request" if 400 <= response.status < 500 else "internal"
        return Err(_NAMES.get(response.status, other))


def _headers(invocation: Invocation, *, has_payload: bool) -> tuple[tuple[bytes, bytes], ...]:
    user = invocation.user
    wanted = {
        "accept": "*/*",
        "x-request-id": invocation.request_id or "ui-proxy-call",
        "x-alga-tenant": invocation.tenant,
        "x-alga-extension": invocation.extension,
        "x-ext-install-id": invocation.install,
        "x-ext-version-id": invocation.version,
        "x-api-key": (invocation.secrets or {}).get(API_KEY),
        "x-user-id": user.user_id if user else None,
        "x-user-email": user.user_email if user else None,
        "content-type": "application/json" if has_payload else None,
    }
    return tuple(header_pair(name, value) for name, value in wanted.items() if value is not None)


def _failed(invocation: Invocation, reason: str) -> Err:
    fields = {
        "request_id": invocation.request_id,
        "tenant": invocation.tenant,
        "extension": invocation.extension,
        "why": reason,
    }
    _log.warning("ui_proxy error", extra={"fields": fields})
    return Err("internal")
