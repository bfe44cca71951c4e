"""What the gateway answers, as a document of OpenAPI 3.1 made from the gateway's own tables.

Methods, limits, codes, faults and the shapes of bodies are read where the gateway itself reads
them, so that the document cannot say something else. It stands at `/algaenv/openapi.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from algaenv import __version__

if TYPE_CHECKING:
    from starlette.routing import Route

__all__ = ["PATH", "build_document", "route"]

PATH = "/algaenv/openapi.json"

_TAGS = {
    "direct": "`/api/ext/`: the gateway for anything that is signed in.",
    "proxy": "`/api/ext-proxy/`: the gateway for the page around an extension.",
    "runner": "`/runner/`: the runner under the gateway's own origin.",
    "internal": "What runners ask, with a token.",
    "own": "What the product does not have, or has otherwise: pages, events, health.",
}


def route() -> Route:
    """Answers with the document, put together when it is asked for."""
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from algaenv.gateway.responses import json_response

    async def respond(request: Request) -> Response:  # noqa: ARG001
        return json_response(200, build_document())

    return Route(PATH, respond)


def build_document() -> dict[str, Any]:
    """The document, read from the modules that serve what it describes."""
    from algaenv.gateway.dev_turns import message_schemas
    from algaenv.gateway.openapi import api_routes, routes
    from algaenv.gateway.openapi.components import BodySchemas, shared_components

    bodies = BodySchemas()
    paths = {**routes.gateway_paths(), **api_routes.paths(bodies), **routes.own_paths()}
    components = shared_components()
    components["schemas"] |= api_routes.schemas() | bodies.schemas | message_schemas()
    components["securitySchemes"] = {
        "runnerToken": api_routes.RUNNER_TOKEN,
        "registryKey": api_routes.REGISTRY_KEY,
        "devToken": {"type": "http", "scheme": "bearer"},
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
