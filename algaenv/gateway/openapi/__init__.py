"""What the gateway answers, as a document of OpenAPI 3.1 made from the gateway's own tables.

Methods, limits, codes, faults and the shapes of bodies are read where the gateway itself reads
them, so that the document cannot say something else. It stands at `/algaenv/openapi.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import Route

__all__ = ["PATH", "route"]

PATH = "/algaenv/openapi.json"


def route() -> Route:
    """Answers with the document, put together when it is asked for."""
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from algaenv.gateway.responses import json_response

    async def answer(request: Request) -> Response:  # noqa: ARG001
        from algaenv.gateway.openapi.whole import build_document

        return json_response(200, build_document())

    return Route(PATH, answer)
