"""`/api/ext-proxy/{id}/{path…}`: the gateway for the page that shows an extension's own."""

from __future__ import annotations

from algaenv.gateway.execution import Road
from algaenv.gateway.manner import Answer, Manner
from algaenv.gateway.relay import Answered, Refused, Relayed, TimedOut

PREFIX = "/api/ext-proxy/"
MOST_BYTES = 64 * 1024 * 1024
"""The product has no bound; memory has. The runner takes 2 MiB anyway."""

_ERROR = 400
_SHOWN = ("content-type", "cache-control", "x-ext-request-id", "x-ext-warning")


def proxy() -> Manner:
    """Its manner."""
    return Manner(
        road=Road.PROXY,
        prefix=PREFIX,
        methods=frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
        most_bytes=MOST_BYTES,
        too_large="payload_too_large",
        overrides=True,
        forwards_key=True,
        without_bundle=Answer(502, {"error": "bad_gateway"}),
        failed=_failed,
        headers=_headers,
    )


def _failed(relayed: Relayed, request_id: str) -> Answer:  # noqa: ARG001 - the direct one tells it
    match relayed:
        case TimedOut():
            return Answer(504, {"error": "Gateway timeout"})
        case Refused(status=status) if _ERROR <= status <= 599:
            return Answer(status, {"error": "bad_gateway"})
        case _:
            return Answer(502, {"error": "bad_gateway"})


def _headers(answered: Answered) -> dict[str, str]:
    return {name: answered.headers[name] for name in _SHOWN if name in answered.headers}
