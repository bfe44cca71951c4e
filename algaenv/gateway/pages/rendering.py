"""Templates into answers. Whatever a manifest says is escaped, and nothing runs that is not ours.

Jinja escapes by itself, so that a template cannot forget it, and complains about a name it does
not know. The policy lets the pages load their own files only. Frames may show any site, since the
product does not hinder an extension that leaves its page.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from jinja2 import Environment

    from algaenv.gateway.problem import Problem

ASSETS = "/algaenv/assets"
TEMPLATES = Path(__file__).parent / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self' http: https:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
}


class Rendering:
    """Fills templates; they are read when the first page is asked for."""

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """An answer with these values in the template."""
        text = self._templates.get_template(template).render(values)
        return HTMLResponse(text, status, _HEADERS)

    def problem(self, status: int, problem: Problem, **values: object) -> HTMLResponse:
        """A page that says what went wrong and what to do."""
        return self.page("problem.html", status, problem=problem, **values)

    @cached_property
    def _templates(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        made = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.globals["assets"] = ASSETS
        return made
