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
    from algaenv.model.trace import CallTrace, GuestLine

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
USER = "x-algaenv-user"
TRACE = "x-algaenv-trace"
"""Asks for what the call does, and is the header that tells it."""
GUEST_LOG = "/api/ext-debug/stream"
_LOG_SECONDS = 3.0
"""How long lines of a guest are waited for, once its call has ended."""
_LOG_POLL_SECONDS = 0.05
_CLOCK_SECONDS = 5.0
"""That the clock of Redis may be behind."""
_MAX_DIGITS = 16
_HEALTH_SECONDS = 5.0
_OF_RUNNER = ("execute failed: ", "secret envelope decryption failed: ")
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
    traced: bool = False
    """Whether to ask what the call does."""


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
    def trace(self) -> CallTrace | None:
        """What the call did; None where it is not told."""
        from algaenv.model.trace import read_trace

        try:
            return read_trace(json.loads(self.headers.get(TRACE, "")))
        except (ValueError, RecursionError):
            return None

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


def read_guest_lines(
    endpoint: ExtensionEndpoint, trace: CallTrace, request_id: str, began: float
) -> CallTrace:
    """The trace with the lines that its guest wrote, from the gateway's debug stream.

    Lines arrive there a little later; those that do not within three seconds stay missing. `began`
    is Unix time in seconds, and lines from before it are not looked for. Never raises for what the
    gateway does.
    """
    from algaenv.bundle.value import replace

    endpoint = replace(endpoint, seconds=_LOG_SECONDS)
    found: list[GuestLine] = []
    # Ids of entries begin with the time in ms, by the clock of Redis.
    last = f"{int((began - _CLOCK_SECONDS) * 1000)}-0"
    deadline = time.monotonic() + _LOG_SECONDS
    why = ""
    while len(found) < trace.lines and time.monotonic() < deadline:
        try:
            answer = _ask_guest_log(endpoint, request_id, last)
        except NotReady as error:
            why = error.problem.summary
            break
        if isinstance(answer, str):
            why = answer
            break
        last, lines = answer
        found += lines
        if not lines:
            time.sleep(_LOG_POLL_SECONDS)
    return replace(trace, guest_lines=tuple(found[: trace.lines]), unread=why)


def _ask_guest_log(
    endpoint: ExtensionEndpoint, request_id: str, last: str
) -> tuple[str, list[GuestLine]] | str:
    """The next id and the lines after the last one, or why there are none."""
    query = (
        f"extensionId={quote(endpoint.extension, safe='')}&requestId={quote(request_id, safe='')}"
    )
    body = json.dumps({"lastId": last}).encode()
    headers = {"content-type": "application/json"}
    response, content = _exchange(endpoint, "POST", f"{GUEST_LOG}?{query}", body, headers)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if response.status != HTTPStatus.OK or not isinstance(document, dict):
        error = document.get("error") if isinstance(document, dict) else None
        return f"the debug stream answers {response.status} {error or ''}".rstrip()
    events = [it for it in document.get("events") or () if isinstance(it, dict)]
    return str(document.get("lastId", last)), [guest_line(it) for it in events if is_written(it)]


def guest_line(entry: Mapping[str, Any]) -> GuestLine:
    """An entry of the debug stream."""
    from algaenv.model.trace import GuestLine

    at = str(entry.get("ts", ""))
    return GuestLine(
        int(at) if at.isascii() and at.isdigit() and len(at) < _MAX_DIGITS else 0,
        str(entry.get("level", "")),
        str(entry.get("stream", "")),
        str(entry.get("message", "")),
        truncated=entry.get("truncated") is True,
    )


def is_written(entry: Mapping[str, Any]) -> bool:
    """False for what the runner itself adds about a call that failed, which its answer tells."""
    failed = entry.get("stream") == "log" and entry.get("level") == "error"
    return not (failed and str(entry.get("message", "")).startswith(_OF_RUNNER))


def require_gateway(url: str) -> None:
    """Check that a gateway answers at a URL. Raises NotReady (`gateway-silent`)."""
    from algaenv.model.status import ExtensionEndpoint

    endpoint = ExtensionEndpoint(url, "", seconds=_HEALTH_SECONDS)
    _exchange(endpoint, "GET", "/healthz", None, {})


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

    from algaenv.system.http import PlainRequest, exchange, whole_body

    connection, target = connection_to(endpoint, target)
    try:
        request = PlainRequest(method, target, body, {**endpoint.headers, **headers})
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


def handler_path(path: str) -> str:
    """A path as it is sent: with a slash before it, and what a URL cannot hold escaped.

    Existing escapes stay.
    """
    safe = "/?&=%:@!$'()*+,;~-._[]"
    return f"/{quote(path.lstrip('/'), safe=safe, errors='surrogateescape')}"


def _target(endpoint: ExtensionEndpoint, request: GatewayRequest) -> str:
    extension = quote(endpoint.extension, safe="")
    return f"/api/{request.entry}/{extension}{handler_path(request.path)}"


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        separator = "\n" if key == "set-cookie" else ", "
        found[key] = f"{found[key]}{separator}{value}" if key in found else value
    return found


def _headers(request: GatewayRequest) -> dict[str, str]:
    headers = {"accept": f"application/json, {PROBLEM}, */*"}
    if request.traced:
        headers[TRACE] = "1"
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
