"""What a browser sees: the list of extensions, the page around one of them, and the invoices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from algaenv.gateway.pages.extension import ExtensionPage
from algaenv.gateway.pages.portals import PORTALS, IndexPage
from algaenv.gateway.pages.rendering import ASSETS_PATH, AssetFiles, Renderer

if TYPE_CHECKING:
    from algaenv.gateway.state import AppState

__all__ = ["INVOICES", "routes"]

INVOICES = "/invoices"
"""The page; `/algaenv/invoices` is what it shows, as JSON."""


def routes(state: AppState) -> list[BaseRoute]:
    """The pages, and the files that they load."""
    rendering = Renderer()

    async def invoices(request: Request) -> Response:  # noqa: ARG001
        return rendering.page("invoices.html")

    return [
        Route("/", IndexPage(state, rendering).respond),
        *(
            Route(
                f"{portal.prefix}/{{extension}}",
                ExtensionPage(state, rendering, portal).respond,
                name=f"extension-{portal.key}",
            )
            for portal in PORTALS
        ),
        Route(INVOICES, invoices),
        Mount(ASSETS_PATH, AssetFiles()),
    ]
