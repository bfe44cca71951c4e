"""The rules of both entry points, direct and proxy, where they differ: one table, two columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from algaenv.gateway.javascript import parse_json, stringify
from algaenv.gateway.runner_client import (
    EntryPoint,
    HandlerResult,
    RunnerOutcome,
    RunnerRefused,
)

UNAVAILABLE_BODY = {"error": "access_policy_unavailable"}

FORWARDED_HEADERS = ("x-request-id", "accept", "content-type", "accept-encoding", "user-agent")
"""Headers of callers that handlers see; cookies and tokens are not among them."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A status and a JSON body."""

    status: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """How one of the two entry points behaves where they differ."""

    entry_point: EntryPoint
    prefix: str
    methods: frozenset[str]
    max_body_bytes: int
    too_large_error: str
    allows_override: bool
    """A POST may stand for another method."""
    handler_sees_ids: bool
    """The handler sees the request id, of caller or gateway, and the idempotency key; else it has
    the caller's request id, and the runner has the key."""
    bundle_missing: Callable[[str], ErrorResponse]
    """Takes the request id, as the next two do."""
    unusable_response: Callable[[str], ErrorResponse]
    """The response where that of the handler has what HTTP does not have."""
    failure_response: Callable[[RunnerOutcome, str], ErrorResponse]
    """The response to a call without a result."""
    response_headers: Callable[[HandlerResult], dict[str, str]]
    """Those of a handler's answer that the caller sees."""


DIRECT_PREFIX = "/api/ext/"
MAX_DIRECT_BODY_BYTES = 10 * 1024 * 1024

CACHEABLE = "public, max-age=31536000, immutable"
"""The header of every answer of Alga's runner, which this gateway passes on."""

_DIRECT_HEADERS = ("content-type", "cache-control", "etag")


def direct_rules(*, cacheable: bool) -> GatewayRules:
    """Rules of `/api/ext/{id}/{path…}`, for every caller that is signed in.

    With `cacheable`, responses have the product's headers; otherwise handlers decide.
    """
    return GatewayRules(
        entry_point=EntryPoint.DIRECT,
        prefix=DIRECT_PREFIX,
        methods=frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
        max_body_bytes=MAX_DIRECT_BODY_BYTES,
        too_large_error="payload_too_large",
        allows_override=False,
        handler_sees_ids=False,
        bundle_missing=_not_installed,
        unusable_response=_bad_gateway,
        failure_response=_direct_failure,
        response_headers=_product_headers if cacheable else _handler_headers,
    )


def _not_installed(request_id: str) -> ErrorResponse:  # noqa: ARG001 - the proxy tells it
    return ErrorResponse(404, {"error": "not_installed"})


def _bad_gateway(request_id: str, status: int = 502) -> ErrorResponse:
    return ErrorResponse(status, {"error": "bad_gateway", "requestId": request_id})


def _direct_failure(outcome: RunnerOutcome, request_id: str) -> ErrorResponse:  # noqa: ARG001 - all are the same here
    return _bad_gateway(request_id)


def _product_headers(result: HandlerResult) -> dict[str, str]:
    headers = {"content-type": "application/json", "cache-control": CACHEABLE}
    if etag := result.runner_headers.get("etag"):
        headers["etag"] = etag
    return headers


def _handler_headers(result: HandlerResult) -> dict[str, str]:
    return {name: result.headers[name] for name in _DIRECT_HEADERS if name in result.headers}


PROXY_PREFIX = "/api/ext-proxy/"
MAX_PROXY_BODY_BYTES = 64 * 1024 * 1024
"""The product has no bound; memory has. The runner takes 2 MiB anyway."""

_FIRST_ERROR_STATUS = 400
_PROXY_HEADERS = ("content-type", "cache-control", "x-ext-request-id", "x-ext-warning")


def proxy_rules() -> GatewayRules:
    """Rules of `/api/ext-proxy/{id}/{path…}`, for the page that shows an extension's own."""
    return GatewayRules(
        entry_point=EntryPoint.PROXY,
        prefix=PROXY_PREFIX,
        methods=frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
        max_body_bytes=MAX_PROXY_BODY_BYTES,
        too_large_error="payload_too_large",
        allows_override=True,
        handler_sees_ids=True,
        bundle_missing=_bad_gateway,
        unusable_response=_unavailable,
        failure_response=_proxy_failure,
        response_headers=_proxy_headers,
    )


def _unavailable(request_id: str) -> ErrorResponse:  # noqa: ARG001 - the direct one tells it
    return ErrorResponse(503, UNAVAILABLE_BODY)


def _proxy_failure(outcome: RunnerOutcome, request_id: str) -> ErrorResponse:
    match outcome:
        case RunnerRefused(status=status) if _FIRST_ERROR_STATUS <= status <= 599:
            return _bad_gateway(request_id, status)
        case _:
            return _bad_gateway(request_id)


def _proxy_headers(result: HandlerResult) -> dict[str, str]:
    return {name: result.headers[name] for name in _PROXY_HEADERS if name in result.headers}


METHOD_OVERRIDE = "__method"
_OVERRIDE_KEY = re.compile(
    b'"'
    + b"".join(rb"(?:%c|\\u00%02x)" % (code, code) for code in METHOD_OVERRIDE.encode())
    + b'"',
    re.IGNORECASE,
)
"""The key as a document may spell it: to read a large body takes long."""
OVERRIDING_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))
"""What a POST may stand for."""


def override_method(query: dict[str, str], body: bytes) -> tuple[str, dict[str, str], bytes | None]:
    """The method that a POST of the proxy stands for, and query and body without what names it.

    A body that held nothing else is none. A name that is no method stays where it is.
    """
    by_query = _overriding(query.get(METHOD_OVERRIDE))
    fields = _parse_fields(body)
    by_body = _overriding(fields.get(METHOD_OVERRIDE))
    method = by_query or by_body or "POST"
    if by_query:
        query = {name: value for name, value in query.items() if name != METHOD_OVERRIDE}
    if method == "GET":
        return method, query, None
    if not by_body:
        return method, query, body
    del fields[METHOD_OVERRIDE]
    return method, query, stringify(fields).encode() if fields else None


def _overriding(named: object) -> str | None:
    method = named.upper() if isinstance(named, str) else None
    return method if method in OVERRIDING_METHODS else None


def _parse_fields(body: bytes) -> dict[str, object]:
    """Those of a body that is a JSON object, whatever its type says."""
    if _OVERRIDE_KEY.search(body) is None:
        return {}
    try:
        # The product does not pass over a mark of the byte order.
        found = parse_json(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
