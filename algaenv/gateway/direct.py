"""`/api/ext/{id}/{path…}`: the gateway for anything that is signed in."""

from __future__ import annotations

from algaenv.gateway.execution import Road
from algaenv.gateway.manner import Answer, Manner
from algaenv.gateway.relay import Answered, Relayed

PREFIX = "/api/ext/"
MOST_BYTES = 10 * 1024 * 1024

CACHEABLE = "public, max-age=31536000, immutable"
"""What Alga's runner writes on all its answers, and this gateway hands on."""

_SHOWN = ("content-type", "cache-control", "etag")


def direct(*, cacheable: bool) -> Manner:
    """Its manner. `cacheable`: answers are labelled as the product's are, whatever handlers say;
    otherwise handlers decide."""
    return Manner(
        road=Road.DIRECT,
        prefix=PREFIX,
        methods=frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
        most_bytes=MOST_BYTES,
        too_large="payload_too_large",
        overrides=False,
        forwards_key=False,
        without_bundle=Answer(404, {"error": "not_installed"}),
        failed=_failed,
        headers=_as_the_product if cacheable else _as_the_handler,
    )


def _failed(relayed: Relayed, request_id: str) -> Answer:  # noqa: ARG001 - all are the same here
    return Answer(502, {"error": "bad_gateway", "requestId": request_id})


def _as_the_product(answered: Answered) -> dict[str, str]:
    headers = {"content-type": "application/json", "cache-control": CACHEABLE}
    if etag := answered.runner_headers.get("etag"):
        headers["etag"] = etag
    return headers


def _as_the_handler(answered: Answered) -> dict[str, str]:
    return {name: answered.headers[name] for name in _SHOWN if name in answered.headers}
