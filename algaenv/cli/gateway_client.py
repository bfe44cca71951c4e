"""HTTP client of the gateway: calls a handler of an extension and returns the whole response."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from algaenv.bundle.value import dataclass, field
from algaenv.model.problem import NotReady, Problem, Refused

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from algaenv.model.resource import Json
    from algaenv.model.status import ExtensionEndpoint

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
USER = "x-algaenv-user"
_QUIET_SECONDS = 1.0
"""After so long without an event, all that were kept have come."""
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
    """A response. `headers` have lower-case names; `ms` is the time until the last byte."""

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
    started = time.perf_counter()
    response, body = _exchange(
        endpoint, request.method, _target(endpoint, request), request.body, _headers(request)
    )
    return GatewayResponse(
        status=response.status,
        phrase=response.reason,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=body,
        ms=round((time.perf_counter() - started) * 1000, 1),
    )


def recorded_events(endpoint: ExtensionEndpoint) -> list[Mapping[str, Any]]:
    """The events of the extension that the gateway has kept. Raises NotReady (`gateway-silent`).

    The stream does not end: it has been read when nothing more comes for a while, or something
    that has happened since.
    """
    from http.client import HTTPConnection, HTTPException

    parts = urlsplit(endpoint.gateway)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_QUIET_SECONDS)
    events: list[Mapping[str, Any]] = []
    began = time.time() * 1000
    try:
        target = f"/algaenv/events?extension={quote(endpoint.extension, safe='')}"
        connection.request("GET", parts.path.rstrip("/") + target)
        response = connection.getresponse()
        try:
            while line := response.readline():
                if line.startswith(b"data:"):
                    events.append(json.loads(line[len(b"data:") :]))
                    if float(events[-1].get("at", 0)) > began:
                        break
        except TimeoutError:
            pass
    except (OSError, HTTPException) as error:
        raise _silent(endpoint, error) from error
    finally:
        connection.close()
    return events


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
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    from algaenv.system.http import Request, exchange, whole_body

    parts = urlsplit(endpoint.gateway)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port)
    target = parts.path.rstrip("/") + target
    try:
        request = Request(method, target, body, headers)
        return exchange(connection, request, whole_body, seconds=endpoint.seconds)
    except (OSError, HTTPException) as error:
        raise _silent(endpoint, error) from error
    finally:
        connection.close()


def _silent(endpoint: ExtensionEndpoint, error: Exception) -> NotReady:
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
    path = quote(request.path.lstrip("/"), safe="/?&=%:@!$'()*+,;~-._[]")
    return f"/api/{request.entry}/{quote(endpoint.extension, safe='')}/{path}"


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
