"""HTTP client of the gateway: calls a handler of an extension and returns the whole response."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import NotReady, Problem, Refused

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from algaenv.model.resource import Json
    from algaenv.model.status import ExtensionEndpoint

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
USER = "x-algaenv-user"
PROBLEM = "application/problem+json"
PROXY = "ext-proxy"
DIRECT = "ext"
"""The path of the other entry point, below `/api/`."""
FAILED = 400
"""The first status that means failure."""


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """A call of a handler. `path` may hold a query."""

    method: str
    path: str
    body: bytes | None
    user: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; they go before those that are sent unasked."""
    entry: str = PROXY


@dataclass(frozen=True, slots=True)
class HandlerError:
    """Why a call failed, as the gateway reports it. Fields it does not report are empty.

    `reason` is the trap, or what the handler could not do; `stderr` holds its last lines.
    """

    summary: str
    hint: str = ""
    reason: str = ""
    stderr: tuple[str, ...] = ()
    host_call: str = ""
    """The last host call of the handler, and how it ended."""


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """A response. `headers` have lower-case names; `ms` is the time until the last byte.

    A header that came repeatedly has its values joined: by line breaks for `set-cookie`, whose
    values may hold commas, else by commas.
    """

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes
    ms: float

    @property
    def failed(self) -> bool:
        """True for a status of 400 or more."""
        return self.status >= FAILED

    @property
    def error(self) -> HandlerError | None:
        """The reported error; None when none is reported."""
        fields = self._problem_fields()
        summary = str(fields.get("summary") or self.headers.get("x-algaenv-error", ""))
        if not summary:
            return None
        code = str(fields.get("code", ""))
        lines = fields.get("stderr") or self.headers.get("x-algaenv-stderr", "")
        return HandlerError(
            f"{code}: {summary}" if code else summary,
            str(fields.get("hint") or self.headers.get("x-algaenv-hint", "")),
            str(fields.get("reason") or self.headers.get("x-algaenv-reason", "")),
            tuple(map(str, lines)) if isinstance(lines, list) else tuple(str(lines).splitlines()),
            str(fields.get("host_call") or self.headers.get("x-algaenv-host-call", "")),
        )

    def read(self) -> Json:
        """The body: decoded when it is JSON, else as text."""
        text = self.body.decode(errors="replace")
        try:
            read: Json = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return read

    def _problem_fields(self) -> Mapping[str, Any]:
        if PROBLEM not in self.headers.get("content-type", ""):
            return {}
        body = self.read()
        fields = body.get("problem") if isinstance(body, dict) else None
        return fields if isinstance(fields, dict) else {}


def send_request(endpoint: ExtensionEndpoint, request: GatewayRequest) -> GatewayResponse:
    """Send the call. Raises NotReady (`gateway-silent`) when the gateway does not answer."""
    return ask(
        endpoint, request.method, _target(endpoint, request), request.body, _headers(request)
    )


def ask(
    endpoint: ExtensionEndpoint,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> GatewayResponse:
    """Ask the gateway anything. Raises NotReady (`gateway-silent`) when it does not answer."""
    started = time.perf_counter()
    response, body = _exchange(endpoint, method, target, body, headers)
    return GatewayResponse(
        status=response.status,
        phrase=response.reason,
        headers=_joined(response.getheaders()),
        body=body,
        ms=round((time.perf_counter() - started) * 1000, 1),
    )


def require_page(endpoint: ExtensionEndpoint, url: str) -> None:
    """Check that the gateway serves the page of an extension that the spec does not name.

    Raises Refused (`extension-unknown`) when it does not, NotReady when nothing answers.
    """
    from algaenv.reconcile.endpoints import unknown_extension

    response, _ = _exchange(endpoint, "GET", urlsplit(url).path, None, {"accept": "text/html"})
    if response.status == HTTPStatus.NOT_FOUND:
        raise Refused(unknown_extension(endpoint.extension, endpoint.names))


def _exchange(
    endpoint: ExtensionEndpoint,
    method: str,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> tuple[HTTPResponse, bytes]:
    from http.client import HTTPException

    from algaenv.system.http import Request, exchange, whole_body

    connection, target = connection_to(endpoint, target)
    try:
        request = Request(method, target, body, headers)
        return exchange(connection, request, whole_body, seconds=endpoint.seconds)
    except (OSError, HTTPException) as error:
        raise silent_gateway(endpoint, error) from error
    finally:
        connection.close()


def connection_to(endpoint: ExtensionEndpoint, target: str) -> tuple[HTTPConnection, str]:
    """A connection to the gateway that is not open yet, and the target below the gateway's URL."""
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(endpoint.gateway)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=endpoint.seconds)
    return connection, parts.path.rstrip("/") + target


def silent_gateway(endpoint: ExtensionEndpoint, error: Exception) -> NotReady:
    """The problem of a gateway that did not answer."""
    if isinstance(error, TimeoutError):
        why = f"no answer within {endpoint.seconds:g} s"
        hint = "run `algaenv status`, which says what does not answer"
    else:
        why = getattr(error, "strerror", None) or type(error).__name__
        hint = "run `algaenv up`, which starts it"
    return NotReady(
        Problem(
            code="gateway-silent",
            summary=f"cannot reach the gateway at {endpoint.gateway}: {why}",
            hint=hint,
        )
    )


def _target(endpoint: ExtensionEndpoint, request: GatewayRequest) -> str:
    # Characters that a URL cannot hold are escaped; existing escapes stay.
    safe = "/?&=%:@!$'()*+,;~-._[]"
    path = quote(request.path.lstrip("/"), safe=safe, errors="surrogateescape")
    return f"/api/{request.entry}/{quote(endpoint.extension, safe='')}/{path}"


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        separator = "\n" if key == "set-cookie" else ", "
        found[key] = f"{found[key]}{separator}{value}" if key in found else value
    return found


def _headers(request: GatewayRequest) -> dict[str, str]:
    headers = {"accept": f"application/json, {PROBLEM}, */*"}
    if request.user:
        headers[USER] = request.user
    if request.body is not None:
        headers["content-type"] = _content_type(request.body)
    return {**headers, **request.headers}


def _content_type(body: bytes) -> str:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"
