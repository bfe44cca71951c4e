"""The API `http`, which the product does not have: HTTP requests of handlers in scratch tenants.

Our runner sends those here and not to the servers that they are for. A test has prepared the
responses; what no response fits is refused, and everything is recorded. So nothing that runs in a
scratch tenant leaves the environment.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from algaenv.gateway.apis.api_endpoint import (
    ApiCall,
    ApiError,
    ApiResponse,
    InvalidBody,
    Refusal,
    installed,
    parse_body,
)
from algaenv.gateway.javascript import iso_timestamp

if TYPE_CHECKING:
    from algaenv.gateway.installs import Installs

MAX_REQUESTS = 1_000
"""Recorded of a tenant; of more the oldest are dropped."""
_PORTS = {"http": 80, "https": 443}


def _base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


_Base64 = Annotated[str, AfterValidator(_base64)]


class PreparedResponse(BaseModel):
    """What a request is answered with. `body` is base64; `error` takes the place of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    url: str
    status: Annotated[int, Field(ge=100, le=599)] = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: _Base64 = ""
    error: bool = False
    """The connection fails."""

    def fits(self, request: _FetchRequest) -> bool:
        """Whether it is for a request.

        A method `*` fits any. A URL that ends with `*` fits all that begin so; else, without a
        query, it fits whatever query a request has, and the order of a query does not matter.
        """
        if self.method not in ("*", request.method.upper()):
            return False
        if self.url.endswith("*"):
            return request.url.startswith(self.url[:-1])
        wanted, query = _parts(self.url)
        there, asked = _parts(request.url)
        return wanted == there and (not query or query == asked)


class _FetchRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: _Base64 = ""


def _parts(url: str) -> tuple[tuple[object, ...], list[tuple[str, str]]]:
    """What a URL names, and its query in order of names."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return (url,), []
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    return (parts.scheme, parts.hostname, port, parts.path or "/"), query


@dataclass(slots=True)
class _Exchanges:
    """Of one tenant."""

    prepared: list[PreparedResponse] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    """Places in `prepared`."""
    requests: list[dict[str, Any]] = field(default_factory=list)


class OutboundHttpApi:
    """`ext-http`."""

    name = "http"

    def __init__(self, installs: Installs) -> None:
        self._installs = installs
        self._exchanges: dict[str, _Exchanges] = {}

    def prepare(self, tenant: str, response: PreparedResponse) -> None:
        """Answer with it from now on. Of several that fit each is used once, in their order, and
        the last goes on to be used."""
        self._exchanges.setdefault(tenant, _Exchanges()).prepared.append(response)

    def report(self, tenant: str) -> dict[str, Any]:
        """`requests`, oldest first, and what was prepared and not `unused`."""
        found = self._exchanges.get(tenant, _Exchanges())
        unused = [
            {"method": it.method, "url": it.url}
            for place, it in enumerate(found.prepared)
            if place not in found.used
        ]
        return {"requests": list(found.requests), "unused": unused}

    def forget(self, tenant: str) -> None:
        """Forget what was prepared and what came."""
        self._exchanges.pop(tenant, None)

    async def handle(self, call: ApiCall) -> ApiResponse:
        """See `Api`. 404 for a request that no prepared response fits."""
        request = parse_body(_FetchRequest, call.body)
        install = await installed(self._installs, call)
        if install is None:
            raise ApiError("NOT_FOUND", "Install not found")
        call.subject = f"{request.method} {request.url.partition('?')[0]}"
        exchanges = self._exchanges.setdefault(install.tenant, _Exchanges())
        chosen = _choose(exchanges, request)
        record = {
            "method": request.method,
            "url": request.url,
            "headers": [list(it) for it in request.headers],
            "body": request.body,
            "extensionId": install.registry_id,
            "requestId": call.request_id,
            "at": iso_timestamp(datetime.now(UTC)),
            "answered": chosen is not None,
        }
        exchanges.requests = [*exchanges.requests[1 - MAX_REQUESTS :], record]
        if chosen is None:
            raise ApiError("NOT_FOUND", _unanswered(request, exchanges))
        if chosen.error:
            return ApiResponse(200, {"error": "prepared to fail"})
        content = {
            "status": chosen.status,
            "headers": [list(it) for it in chosen.headers],
            "body": chosen.body,
        }
        return ApiResponse(200, content)

    def refusal(self, error: Refusal) -> ApiResponse:
        """See `Api`."""
        if isinstance(error, ApiError):
            return ApiResponse(error.status, {"error": error.message, "code": error.code})
        details: Mapping[str, Any] = error.details if isinstance(error, InvalidBody) else {}
        return ApiResponse(400, {"error": str(error), "details": details})


def _choose(exchanges: _Exchanges, request: _FetchRequest) -> PreparedResponse | None:
    fitting = [place for place, it in enumerate(exchanges.prepared) if it.fits(request)]
    if not fitting:
        return None
    chosen = next((it for it in fitting if it not in exchanges.used), fitting[-1])
    exchanges.used.add(chosen)
    return exchanges.prepared[chosen]


def _unanswered(request: _FetchRequest, exchanges: _Exchanges) -> str:
    known = ", ".join(dict.fromkeys(f"{it.method} {it.url}" for it in exchanges.prepared))
    return (
        f"no response is prepared for {request.method} {request.url}; there are {known or 'none'}"
    )
