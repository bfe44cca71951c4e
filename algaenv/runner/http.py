"""HTTP of the runner's own endpoints: responses, request headers and bodies, and who may call.

`CallerCheck` keeps every client but the gateway away from the two routes that run handlers. A page
in a browser can reach this port, by its Origin or by DNS rebinding, and so can a guest. A browser
cannot choose its Host, and neither knows the token. Pages are not checked: Alga serves them under
names of their own.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from algaenv.serving.host_header import LOOPBACK, host_name, is_loopback
from algaenv.serving.request_limits import BODY_SECONDS, BodyTooLarge, BodyTooSlow, read_body

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    M = TypeVar("M", bound=BaseModel)


_NO_STORE = {"cache-control": "no-store"}


def empty_response(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A response without a body."""
    return Response(status_code=status, headers={**_NO_STORE, **(headers or {})})


def text_response(status: int, message: str) -> Response:
    """A plain sentence."""
    return Response(message, status, _NO_STORE, media_type="text/plain")


def json_response(status: int, fields: Mapping[str, object]) -> Response:
    """A JSON object, written without blanks as Alga's runner does."""
    text = json.dumps(fields, separators=(",", ":"))
    return Response(text, status, _NO_STORE, media_type="application/json")


def request_header(scope: Scope, name: bytes) -> str | None:
    """The first value of a header; None when it is missing or not visible ASCII.

    `name` is lower case, as the server passes names.
    """
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text if text.isascii() and text.isprintable() else None
    return None


MAX_BODY_BYTES = 2 * 1024 * 1024


class InvalidRequest(Exception):
    """The request cannot be read: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


async def read_json(request: Request) -> bytes:
    """The bytes of a body that says it is JSON. Raises InvalidRequest (415, 413, 408)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    main, _, sub = kind.partition("/")
    if main != "application" or not (sub == "json" or sub.endswith("+json")):
        raise InvalidRequest(415, "Expected request with `Content-Type: application/json`")
    try:
        return await read_body(request, MAX_BODY_BYTES)
    except BodyTooLarge:
        message = "Failed to buffer the request body: length limit exceeded"
        raise InvalidRequest(413, message) from None
    except BodyTooSlow:
        message = f"The request body did not arrive within {BODY_SECONDS:g} s"
        raise InvalidRequest(408, message) from None


def parse_body(shape: type[M], body: bytes) -> M:
    """Read a document of this model. Raises InvalidRequest (400 for bad JSON, 422 otherwise)."""
    from pydantic import ValidationError

    try:
        return shape.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _invalid_request(error) from None


def _invalid_request(error: ValidationError) -> InvalidRequest:
    """Words without the document's own values: these may be secrets."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return InvalidRequest(400, f"Failed to parse the request body as JSON: {first['msg']}")
    place = ".".join(map(str, first["loc"])) or "."
    return InvalidRequest(
        422,
        f"Failed to deserialize the JSON body into the target type: {place}: {first['msg']}",
    )


TOKEN_HEADER = b"x-runner-service-token"
PROTECTED_ROUTES = frozenset(("/v1/execute", "/warmup"))

_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".svc")
"""Names that no public DNS answers, so that no page comes from them."""


class CallerCheck:
    """Wraps an application; answers 401 or 403 in its place. `token` is None where none is needed,
    `hosts` are names under which callers may come beside those of this machine and network."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "http" and scope["path"] in PROTECTED_ROUTES:
            refused = self._rejection(scope)
            if refused is not None:
                status, error, reason = refused
                response = json_response(status, {"error": error, "message": reason})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _rejection(self, scope: Scope) -> tuple[int, str, str] | None:
        hosts, origins, sites, tokens = [], [], [], []
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name == b"origin":
                origins.append(value.decode("latin-1"))
            elif name == b"sec-fetch-site":
                sites.append(value)
            elif name == TOKEN_HEADER:
                tokens.append(value)
        if len(hosts) > 1 or not all(self._is_ours(host) for host in hosts):
            return 403, "host_refused", "this host is not one of RUNNER_ALLOWED_HOSTS"
        if b"cross-site" in sites or not all(_is_same_origin(origin, hosts) for origin in origins):
            return 403, "origin_refused", "pages of other sites cannot call handlers"
        if self._token is not None and not (
            len(tokens) == 1 and hmac.compare_digest(tokens[0], self._token)
        ):
            return 401, "token_required", "x-runner-service-token is missing or wrong"
        return None

    def _is_ours(self, netloc: str) -> bool:
        name = host_name(netloc)
        if name is None:
            return False
        if name in self._hosts or is_local_name(name):
            return True
        # A page has an address in numbers as its host only if that very machine sent it.
        return _is_address(name)


def is_local_name(name: str) -> bool:
    """Whether a name is this machine, or one that only a private network gives, as `runner`."""
    return name in LOOPBACK or name.endswith(_PRIVATE_NAMES) or "." not in name


def _is_same_origin(origin: str, hosts: list[str]) -> bool:
    """Whether a page of this very service asks, under a name of this machine."""
    if not hosts or origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
        return False
    return is_loopback(hosts[0])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
