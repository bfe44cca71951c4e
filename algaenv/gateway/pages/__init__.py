"""What a browser sees: the overview, calls, logs, what extensions keep, and their pages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from algaenv.gateway.apis.storage.records import RecordRepository
from algaenv.gateway.pages.calls import CallPages, CallRepository, chosen_install
from algaenv.gateway.pages.data import SchedulePage, StoragePage
from algaenv.gateway.pages.extension import MODE, PORTALS, SOURCE, ExtensionPage, debug_user
from algaenv.gateway.pages.overview import Health, OverviewPages
from algaenv.gateway.pages.rendering import ASSETS_PATH, AssetFiles, Renderer, load_installs
from algaenv.gateway.responses import Problem

if TYPE_CHECKING:
    from algaenv.gateway.state import AppState

__all__ = ["INVOICES", "page_paths", "routes"]

Json = dict[str, Any]

INVOICES = "/invoices"
"""The page; `/algaenv/invoices` is what it shows, as JSON."""


def routes(state: AppState, health: Health, records: RecordRepository) -> list[BaseRoute]:
    """The pages, and the files that they load."""
    rendering = _renderer()
    repository = CallRepository(state.pool, state.config.tenant)
    overview = OverviewPages(state, rendering, repository, health)
    calls = CallPages(state, rendering, repository)
    storage = StoragePage(state, rendering, records)
    schedules = SchedulePage(state, rendering)

    async def invoices(request: Request) -> Response:  # noqa: ARG001
        found = await load_installs(state, rendering)
        if isinstance(found, Response):
            return found
        return rendering.page("invoices.html", here="invoices", installs=found)

    async def logs(request: Request) -> Response:
        found = await load_installs(state, rendering)
        if isinstance(found, Response):
            return found
        chosen = chosen_install(request, found)
        if chosen is None and len(found) == 1:
            chosen = found[0]
        users = state.users
        return rendering.page(
            "logs.html",
            here="logs",
            installs=found,
            chosen=chosen,
            observer=debug_user(users.all, users.default),
        )

    return [
        Route("/", overview.overview),
        Route("/calls", calls.listed),
        Route("/calls/{call}", calls.one),
        Route("/logs", logs),
        Route("/storage", storage.respond, methods=["GET", "POST"]),
        Route("/schedules", schedules.shown),
        Route("/schedules/{schedule_id}/run", schedules.run, methods=["POST"]),
        Route("/environment", overview.environment),
        *(
            Route(
                f"{portal.prefix}/{{extension}}",
                ExtensionPage(state, rendering, portal, repository).respond,
                name=f"extension-{portal.key}",
            )
            for portal in PORTALS
        ),
        Route(INVOICES, invoices),
        Mount(ASSETS_PATH, AssetFiles()),
    ]


@cache
def _renderer() -> Renderer:
    return Renderer()


def not_found(request: Request) -> Response | None:
    """A page for an address that is none; None where no person asks for one."""
    accepts = "text/html" in request.headers.get("accept", "")
    if request.method not in {"GET", "HEAD"} or not accepts:
        return None
    problem = Problem(
        "gateway-page-unknown",
        f"cannot find a page at {request.url.path[:100]!r}",
        "choose one from the navigation",
    )
    return _renderer().problem(404, problem)


_PAGES = {
    "200": "The page.",
    "307": "The address by registry id, which other names lead to.",
    "404": "There is none.",
    "409": "The installed version has no bundle.",
    "503": "The database does not answer.",
}
_HTML = "text/html"


def page_paths() -> Json:
    """Path → what can be asked there, for the OpenAPI document."""
    from algaenv.gateway.openapi.components import STRING, enum_of, object_of, parameter, response
    from algaenv.gateway.openapi.components import json_response as json_body

    extension = parameter("query", "extension", "Registry id; without it, all.")
    form = {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}
    assets = {
        "200": response("The file.", {"*/*": {}}),
        "304": response("The browser has it."),
        "404": json_body("There is none.", object_of({"error": enum_of(["not_found"])})),
    }
    schedule = parameter("path", "schedule_id", "Its id.")
    return {
        "/": _get("overview", "Services, extensions and the latest calls", "200", "503"),
        "/calls": _get(
            "calls-page",
            "A form that sends a call, and the latest calls",
            *("200", "503"),
            parameters=[extension, parameter("query", "failed", "1: only those that failed.")],
        ),
        "/calls/{call}": _get(
            "call-page",
            "What happened in a call",
            *("200", "404", "503"),
            parameters=[parameter("path", "call", "Id of its row, or of its request.")],
        ),
        "/logs": _get("logs-page", "Events as they happen", "200", "503", parameters=[extension]),
        "/storage": {
            **_get(
                "storage-page",
                "The records of an extension",
                *("200", "503"),
                parameters=[
                    extension,
                    parameter("query", "namespace", "Whose records."),
                    parameter("query", "prefix", "Only keys that begin so."),
                    parameter("query", "after", "The key after which the page begins."),
                ],
            ),
            "post": _own(
                "storage-form",
                "Write or delete a record",
                {
                    "303": response("Done; the page of the namespace."),
                    "400": response("Nothing is changed; the page says why.", {_HTML: STRING}),
                    **_answers("503"),
                },
                parameters=[extension],
                requestBody=form,
            ),
        },
        "/schedules": _get("schedules-page", "All schedules", "200", "503"),
        "/schedules/{schedule_id}/run": {
            "post": _own(
                "schedule-form",
                "Run a schedule now; the page says how it went",
                _answers("200", "503"),
                parameters=[schedule],
            )
        },
        "/environment": _get("environment-page", "The settings of the gateway", "200", "503"),
        INVOICES: _get("invoices-page", "The invoices that extensions made", "200", "503"),
        **{f"{it.prefix}/{{extension}}": _extension_page(it.key) for it in PORTALS},
        f"{ASSETS_PATH}/{{file}}": {
            "get": _own(
                "asset",
                "Scripts and styles of the pages",
                assets,
                parameters=[parameter("path", "file", "Its name.")],
            )
        },
    }


def _extension_page(portal: str) -> Json:
    from algaenv.gateway.openapi.components import USERS, enum_of, parameter

    parameters = [
        parameter("path", "extension", "Registry id; install id and slug lead to it."),
        *USERS,
        parameter("query", MODE, "How the frame is asked for.", enum_of(["path", "host"])),
        parameter(
            "query",
            SOURCE,
            "Whose page, if there is a ui_dev_server.",
            enum_of(["server", "bundle"]),
        ),
    ]
    return _get(f"page-{portal}", "The page around an extension", *_PAGES, parameters=parameters)


def _get(identity: str, summary: str, *statuses: str, **more: Any) -> Json:
    return {"get": _own(identity, summary, _answers(*statuses), **more)}


def _own(identity: str, summary: str, answers: Json, **more: Any) -> Json:
    from algaenv.gateway.openapi.components import forbidden_response, operation

    return operation(identity, summary, "own", {**answers, "403": forbidden_response()}, **more)


def _answers(*statuses: str) -> Json:
    from algaenv.gateway.openapi.components import STRING, response

    return {
        status: response(_PAGES[status], None if status == "307" else {_HTML: STRING})
        for status in statuses
    }
