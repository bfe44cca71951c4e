"""The parts put together."""

from __future__ import annotations

from algaenv import __version__
from algaenv.gateway.openapi import api_routes, routes
from algaenv.gateway.openapi.components import Json, shared_components
from algaenv.gateway.openapi.request_bodies import BodySchemas

_TAGS = {
    "direct": "`/api/ext/`: the gateway for anything that is signed in.",
    "proxy": "`/api/ext-proxy/`: the gateway for the page around an extension.",
    "runner": "`/runner/`: the runner under the gateway's own origin.",
    "internal": "What runners ask, with a token.",
    "own": "What the product does not have, or has otherwise: pages, events, health.",
}


def build_document() -> Json:
    """The document."""
    bodies = BodySchemas()
    paths = {**routes.gateway_paths(), **api_routes.paths(bodies), **routes.own_paths()}
    components = shared_components()
    components["schemas"] |= api_routes.schemas() | bodies.schemas
    components["securitySchemes"] = {
        "runnerToken": api_routes.RUNNER_TOKEN,
        "registryKey": api_routes.REGISTRY_KEY,
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
