"""The rules of both gateways, direct and proxy, where they differ: one table, two columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from algaenv.gateway.runner_client import (
    EntryPoint,
    HandlerResult,
    RunnerOutcome,
    RunnerRefused,
    RunnerTimedOut,
)

FORWARDED_HEADERS = ("x-request-id", "accept", "content-type", "accept-encoding", "user-agent")
"""Headers of callers that handlers see; cookies and tokens are not among them."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A status and a JSON body."""

    status: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """How one of the two gateways behaves where they differ."""

    entry_point: EntryPoint
    prefix: str
    methods: frozenset[str]
    max_body_bytes: int
    too_large_error: str
    allows_override: bool
    """A POST may stand for another method."""
    forwards_idempotency_key: bool
    """The handler sees the idempotency key; else the runner does."""
    bundle_missing: ErrorResponse
    failure_response: Callable[[RunnerOutcome, str], ErrorResponse]
    """The response to a call without a result; takes its outcome and request id."""
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
        forwards_idempotency_key=False,
        bundle_missing=ErrorResponse(404, {"error": "not_installed"}),
        failure_response=_direct_failure,
        response_headers=_product_headers if cacheable else _handler_headers,
    )


def _direct_failure(outcome: RunnerOutcome, request_id: str) -> ErrorResponse:  # noqa: ARG001 - all are the same here
    return ErrorResponse(502, {"error": "bad_gateway", "requestId": request_id})


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
        forwards_idempotency_key=True,
        bundle_missing=ErrorResponse(502, {"error": "bad_gateway"}),
        failure_response=_proxy_failure,
        response_headers=_proxy_headers,
    )


def _proxy_failure(outcome: RunnerOutcome, request_id: str) -> ErrorResponse:  # noqa: ARG001 - the direct one tells it
    match outcome:
        case RunnerTimedOut():
            return ErrorResponse(504, {"error": "Gateway timeout"})
        case RunnerRefused(status=status) if _FIRST_ERROR_STATUS <= status <= 599:
            return ErrorResponse(status, {"error": "bad_gateway"})
        case _:
            return ErrorResponse(502, {"error": "bad_gateway"})


def _proxy_headers(result: HandlerResult) -> dict[str, str]:
    return {name: result.headers[name] for name in _PROXY_HEADERS if name in result.headers}
