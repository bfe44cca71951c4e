"""The installs for a page, or the page that says why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from algaenv.gateway.installs import Install
from algaenv.gateway.pages.rendering import Rendering
from algaenv.gateway.problem import Problem

if TYPE_CHECKING:
    from algaenv.gateway.house import House


async def installs(house: House, rendering: Rendering) -> list[Install] | Response:
    """Every install of the tenant; 503 when the database does not answer."""
    import psycopg

    try:
        return await house.installs.all()
    except psycopg.OperationalError:
        problem = Problem(
            "gateway-database-down",
            "cannot list the extensions: the database does not answer",
            "start it with algaenv up, or correct DATABASE_URL",
        )
    return rendering.problem(503, problem)
