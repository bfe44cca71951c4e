"""Templates become responses. Texts of manifests are escaped, and only our own scripts run.

Jinja escapes by itself, so that a template cannot forget it, and complains about a name it does
not know. The policy lets the pages load their own files only. Frames may show any site, since the
product does not hinder an extension that leaves its page.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from algaenv.gateway.installs import Install
from algaenv.gateway.responses import Problem

if TYPE_CHECKING:
    from jinja2 import Environment

    from algaenv.gateway.responses import Problem
    from algaenv.gateway.state import AppState


ASSETS_PATH = "/algaenv/assets"
TEMPLATES_DIR = Path(__file__).parent / "templates"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self' http: https:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
}


class Renderer:
    """Fills templates; they are read when the first page is asked for."""

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """An answer with these values in the template."""
        text = self._templates.get_template(template).render(values)
        return HTMLResponse(text, status, _HEADERS)

    def problem(self, status: int, problem: Problem, **values: object) -> HTMLResponse:
        """A page that shows a problem and its hint."""
        return self.page("problem.html", status, problem=problem, **values)

    @cached_property
    def _templates(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        made = Environment(
            loader=FileSystemLoader(TEMPLATES_DIR),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.globals["assets"] = ASSETS_PATH
        return made


ASSETS_DIR = Path(__file__).parent / "assets"


class AssetFiles(StaticFiles):
    """Scripts and styles, as they are in the package."""

    def __init__(self) -> None:
        super().__init__(directory=ASSETS_DIR)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, with its name tied to its kind."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        response.headers["x-content-type-options"] = "nosniff"
        return response


async def load_installs(state: AppState, rendering: Renderer) -> list[Install] | Response:
    """Every install of the tenant; 503 when the database does not answer."""
    import psycopg

    try:
        return await state.installs.all()
    except psycopg.OperationalError:
        problem = Problem(
            "gateway-database-down",
            "cannot list the extensions: the database does not answer",
            "start it with algaenv up, or correct DATABASE_URL",
        )
    return rendering.problem(503, problem)
