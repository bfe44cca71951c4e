"""The parts put together."""

from __future__ import annotations

from algaenv import __version__
from algaenv.gateway.openapi import gateways, internal, own
from algaenv.gateway.openapi.bodies import Bodies
from algaenv.gateway.openapi.pieces import Json, shared

_TAGS = {
    "direct": "`/api/ext/`: the gateway for anything that is signed in.",
    "proxy": "`/api/ext-proxy/`: the gateway for the page around an extension.",
    "runner": "`/runner/`: the runner under the gateway's own origin.",
    "internal": "What runners ask, with a token.",
    "own": "What the product does not have, or has otherwise: pages, events, health.",
}


def whole() -> Json:
    """The document."""
    bodies = Bodies()
    paths = {**gateways.paths(), **internal.paths(bodies), **own.paths()}
    components = shared()
    components["schemas"] |= internal.schemas() | bodies.schemas
    components["securitySchemes"] = {
        "runnerToken": internal.RUNNER_TOKEN,
        "registryKey": internal.REGISTRY_KEY,
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "algaenv gateway",
            "version": __version__,
            "description": "The part of Alga's app server that extensions touch.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": components,
    }
