"""One call of an extension's handler through the gateway, with all that the gateway says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from algaenv.bundle.value import dataclass
from algaenv.model.problem import NotReady, Problem, Refused

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from algaenv.model.resource import Json
    from algaenv.model.status import ExtensionEndpoint

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
USER = "x-algaenv-user"
PROBLEM = "application/problem+json"
FAILED = 400
"""The first status that is no success."""


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """A call. `path` may hold a query."""

    method: str
    path: str
    body: bytes | None
    user: str | None


@dataclass(frozen=True, slots=True)
class HandlerError:
    """Why a call failed, as the gateway knows it: what is empty it did not say.

    `reason` is the trap, or what the handler could not do; `stderr` are its last lines.
    """

    summary: str
    hint: str = ""
    reason: str = ""
    stderr: tuple[str, ...] = ()
    host_call: str = ""
    """The last call of its host, and how that ended."""


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """What came back. `headers` have lower-case names; `ms` is the time until the last byte."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes
    ms: float

    @property
    def failed(self) -> bool:
        """Whether the status says so."""
        return self.status >= FAILED

    @property
    def trouble(self) -> HandlerError | None:
        """None when nothing is known to be wrong."""
        told = self._told()
        summary = str(told.get("summary") or self.headers.get("x-algaenv-error", ""))
        if not summary:
            return None
        code = str(told.get("code", ""))
        lines = told.get("stderr") or self.headers.get("x-algaenv-stderr", "")
        return HandlerError(
            f"{code}: {summary}" if code else summary,
            str(told.get("hint") or self.headers.get("x-algaenv-hint", "")),
            str(told.get("reason") or self.headers.get("x-algaenv-reason", "")),
            tuple(map(str, lines)) if isinstance(lines, list) else tuple(str(lines).splitlines()),
            str(told.get("host_call") or self.headers.get("x-algaenv-host-call", "")),
        )

    def read(self) -> Json:
        """The body: JSON where it is, else text."""
        text = self.body.decode(errors="replace")
        try:
            read: Json = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return read

    def _told(self) -> Mapping[str, Any]:
        if PROBLEM not in self.headers.get("content-type", ""):
            return {}
        body = self.read()
        told = body.get("problem") if isinstance(body, dict) else None
        return told if isinstance(told, dict) else {}


def send_request(endpoint_of: ExtensionEndpoint, asked: GatewayRequest) -> GatewayResponse:
    """Put the call. Raises NotReady (`gateway-silent`) when nobody answers."""
    started = time.perf_counter()
    response, body = _exchange(
        endpoint_of, asked.method, _target(endpoint_of, asked), asked.body, _headers(asked)
    )
    return GatewayResponse(
        status=response.status,
        phrase=response.reason,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=body,
        ms=round((time.perf_counter() - started) * 1000, 1),
    )


def require_page(endpoint_of: ExtensionEndpoint, url: str) -> None:
    """Ask the gateway for the page of an extension that only it can know.

    Raises Refused (`extension-unknown`) when there is none, NotReady when nobody answers.
    """
    from algaenv.reconcile.status import unknown_extension

    response, _ = _exchange(endpoint_of, "GET", urlsplit(url).path, None, {"accept": "text/html"})
    if response.status == HTTPStatus.NOT_FOUND:
        raise Refused(unknown_extension(endpoint_of.extension, endpoint_of.names))


def _exchange(
    endpoint_of: ExtensionEndpoint,
    method: str,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> tuple[HTTPResponse, bytes]:
    from http.client import HTTPConnection, HTTPException

    parts = urlsplit(endpoint_of.gateway)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=endpoint_of.seconds)
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        return response, response.read()
    except TimeoutError as error:
        raise NotReady(
            Problem(
                code="gateway-silent",
                summary=f"cannot reach the gateway at {reach.gateway}: no answer within"
                f" {reach.seconds:g} s",
                hint="run `algaenv status`, which says what does not answer",
            )
        ) from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise NotReady(
            Problem(
                code="gateway-silent",
                summary=f"cannot reach the gateway at {reach.gateway}: {why}",
                hint="run `algaenv up`, which starts it",
            )
        ) from error
    finally:
        connection.close()


def _target(endpoint_of: ExtensionEndpoint, asked: GatewayRequest) -> str:
    # What is no letter of a URL is written as one; what is escaped already stays.
    path = quote(asked.path.lstrip("/"), safe="/?&=%:@!$'()*+,;~-._[]")
    return f"/api/ext-proxy/{quote(reach.extension, safe='')}/{path}"


def _headers(asked: GatewayRequest) -> dict[str, str]:
    headers = {"accept": f"application/json, {PROBLEM}, */*"}
    if asked.user:
        headers[USER] = asked.user
    if asked.body is not None:
        headers["content-type"] = _kind(asked.body)
    return headers


def _kind(body: bytes) -> str:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"
