"""Templates become responses. Texts of manifests are escaped, and only our own scripts run.

Jinja escapes by itself, so that a template cannot forget it, and complains about a name it does
not know. The policy lets the pages load their own files only. Frames may show any site, since the
product does not hinder an extension that leaves its page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from algaenv import __version__
from algaenv.gateway.installs import Install
from algaenv.gateway.responses import Problem

if TYPE_CHECKING:
    from jinja2 import Environment

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
_MAX_JSON = 20_000
"""Characters of a value that a page shows."""


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A line of the navigation."""

    key: str
    label: str
    path: str


NAVIGATION = (
    NavigationEntry("overview", "Overview", "/"),
    NavigationEntry("calls", "Calls", "/calls"),
    NavigationEntry("logs", "Logs", "/logs"),
    NavigationEntry("storage", "Storage", "/storage"),
    NavigationEntry("schedules", "Schedules", "/schedules"),
    NavigationEntry("invoices", "Invoices", "/invoices"),
    NavigationEntry("environment", "Environment", "/environment"),
)


class Renderer:
    """Fills templates; they are read when the first page is asked for."""

    def page(
        self, template: str, status: int = 200, *, here: str = "", **values: object
    ) -> HTMLResponse:
        """An answer with these values in the template; `here` is the key of its navigation."""
        text = self._templates.get_template(template).render(here=here, **values)
        return HTMLResponse(text, status, _HEADERS)

    def problem(self, status: int, problem: Problem, **values: Any) -> HTMLResponse:
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
        made.globals |= {
            "assets": ASSETS_PATH,
            "navigation": NAVIGATION,
            "version": __version__,
            "line_path": line_path,
        }
        made.filters |= {
            "age": age,
            "ms": milliseconds,
            "pretty": pretty,
            "compact": compact,
        }
        return made


def age(moment: datetime | None) -> str:
    """How long ago a moment was: `12 s ago`, `3 h ago`; `never` for None."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 0:
        return f"in {_span(-seconds)}"
    return f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def milliseconds(value: float | None) -> str:
    """`4.2 ms`, `1.3 s`; empty for None."""
    if value is None:
        return ""
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.3g} ms"


def pretty(value: object) -> str:
    """JSON over several lines, cut where it is very long."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) <= _MAX_JSON else f"{text[:_MAX_JSON]}\n…"


def compact(value: object) -> str:
    """JSON in one line, cut where it is very long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_JSON else f"{text[:_MAX_JSON]} …"


CHART_WIDTH = 120
CHART_HEIGHT = 24
_EDGE = 1.5
"""Around a line, so that its width is not cut off."""
_DASH = 4.0


def line_path(values: Mapping[int, float | None], slices: int, top: float) -> str:
    """A line through values by slice, as a path of SVG in a box of CHART_WIDTH and CHART_HEIGHT.

    It is broken where a slice has no value, and a value alone is a dash. `top` is the value at the
    upper edge.
    """
    known = {place: value for place, value in values.items() if value is not None}
    words: list[str] = []
    for place, value in sorted(known.items()):
        x = _EDGE + (CHART_WIDTH - 2 * _EDGE) * place / max(1, slices - 1)
        share = min(1.0, value / top) if top > 0 else 0.0
        y = CHART_HEIGHT - _EDGE - (CHART_HEIGHT - 2 * _EDGE) * share
        if place - 1 in known:
            words.append(f"L{x:.1f} {y:.1f}")
        elif place + 1 in known:
            words.append(f"M{x:.1f} {y:.1f}")
        else:
            x = min(max(x, _EDGE + _DASH / 2), CHART_WIDTH - _EDGE - _DASH / 2)
            words.append(f"M{x - _DASH / 2:.1f} {y:.1f}h{_DASH:g}")
    return "".join(words)


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
