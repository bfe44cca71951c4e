"""What the gateway has of its own: pages, events, invoices, schedules, health, this document."""

from __future__ import annotations

from algaenv.gateway.environment import DEFAULT_TAIL, MOST_TAIL
from algaenv.gateway.faults import HEADER as FAULT
from algaenv.gateway.openapi import PATH
from algaenv.gateway.openapi.gateways import USERS
from algaenv.gateway.openapi.pieces import (
    MOMENT,
    TEXT,
    UUID,
    WORDS,
    YES_OR_NO,
    Json,
    answer,
    fields,
    guarded,
    json,
    many,
    one_of,
    operation,
    parameter,
)
from algaenv.gateway.pages.extension import MODE, SOURCE
from algaenv.gateway.pages.portal import PORTALS
from algaenv.gateway.pages.rendering import ASSETS
from algaenv.gateway.pages.routing import INVOICES

_HTML = "text/html"
_STREAM = "text/event-stream"


def paths() -> Json:
    """Path → what can be asked there."""
    return {
        "/": _get("index", "Both sidebars, and all that is installed", _page("200", "503")),
        **{f"{it.prefix}/{{extension}}": _extension(it.key) for it in PORTALS},
        INVOICES: _get("invoices-page", "The invoices that extensions made", _page("200")),
        f"{ASSETS}/{{file}}": _assets(),
        "/algaenv/events": _events(),
        "/algaenv/invoices": _invoices(),
        "/algaenv/schedules": _schedules(),
        "/algaenv/schedules/{schedule_id}/run": {"post": _run()},
        PATH: _get("openapi", "This document", {"200": json("It.", {"type": "object"})}),
        "/api/ext-debug/stream": _debug_stream(),
        "/healthz": _healthz(),
        "/readyz": _readyz(),
    }


def _get(identity: str, summary: str, answers: Json, **more: Json | list[Json]) -> Json:
    return {"get": operation(identity, summary, "own", {**answers, "403": guarded()}, **more)}


_PAGES = {
    "200": "The page.",
    "307": "The address by registry id, which other names lead to.",
    "404": "No such extension.",
    "409": "The installed version has no bundle.",
    "503": "The database does not answer.",
}


def _page(*statuses: str) -> Json:
    return {
        status: answer(_PAGES[status], None if status == "307" else {_HTML: TEXT})
        for status in statuses
    }


def _extension(portal: str) -> Json:
    parameters = [
        parameter("path", "extension", "Registry id; install id and slug lead to it."),
        *USERS,
        parameter("query", MODE, "How the frame is asked for.", one_of(["path", "host"])),
        parameter(
            "query",
            SOURCE,
            "Whose page, if there is a ui_dev_server.",
            one_of(["server", "bundle"]),
        ),
    ]
    return _get(
        f"page-{portal}", "The page around an extension", _page(*_PAGES), parameters=parameters
    )


def _assets() -> Json:
    answers = {
        "200": answer("The file.", {"*/*": {}}),
        "304": answer("The browser has it."),
        "404": json("There is none.", fields({"error": one_of(["not_found"])})),
    }
    return _get(
        "asset",
        "Scripts and styles of the pages",
        answers,
        parameters=[parameter("path", "file", "Its name.")],
    )


def _events() -> Json:
    parameters = [
        parameter("query", "extension", "Registry id; events of no extension come too."),
        parameter("query", "after", "Id of the last event that is known."),
        parameter("header", "last-event-id", "The same, as browsers send it."),
    ]
    return _get(
        "events",
        "What happened lately, then what happens",
        {"200": answer("Does not end.", {_STREAM: TEXT})},
        parameters=parameters,
    )


def _debug_stream() -> Json:
    parameters = [
        parameter("query", "extensionId", "Registry id, install id or slug.", required=True),
        parameter("query", "tenantId", "If there, the tenant of the session."),
        parameter("query", "installId", "Only what this install says."),
        parameter("query", "requestId", "Only what is said during this call."),
        parameter("query", "tail", f"Entries of the past; {DEFAULT_TAIL}, at most {MOST_TAIL}."),
        *USERS,
    ]

    def error(text: str, *words: str) -> Json:
        return json(text, fields({"error": one_of(words)}))

    found = _get(
        "debug-stream",
        "What guests log",
        {
            "200": answer("Does not end.", {_STREAM: TEXT}),
            "400": error("No extension.", "extensionId is required"),
            "401": error("No user has this name.", "Unauthorized"),
            "503": error("No Redis answers.", "debug_stream_unavailable"),
        },
        parameters=parameters,
    )
    found["get"]["responses"]["403"] = guarded("forbidden", "tenant_mismatch")
    return found


def _invoices() -> Json:
    item = {
        "serviceId": UUID,
        "quantity": {"type": "number"},
        "description": TEXT,
        "rate": {"type": "number"},
        "isDiscount": YES_OR_NO,
        "discountType": one_of(["percentage", "fixed", None]),
        "appliesToItemId": WORDS,
        "appliesToServiceId": WORDS,
    }
    more = {
        "clientId": UUID,
        "clientName": TEXT,
        "items": many(fields(item)),
        "invoiceDate": WORDS,
        "dueDate": WORDS,
        "poNumber": WORDS,
        "installId": UUID,
        "extensionId": UUID,
        "createdAt": MOMENT,
    }
    listed = _joined("Invoice", more)
    answers = {"200": json("Newest first.", fields({"invoices": many(listed)}))}
    return _get("invoices", "The invoices that extensions made", answers)


def _schedules() -> Json:
    more = {"installId": UUID, "extensionId": WORDS, "nextRunAt": MOMENT}
    listed = fields({"schedules": many(_joined("Schedule", more))})
    answers = {"200": json("Oldest first.", listed), "500": _internal()}
    return _get("schedules", "All schedules of the tenant, with their next run", answers)


def _joined(name: str, more: dict[str, Json]) -> Json:
    """A shape of the internal APIs with more fields."""
    from algaenv.gateway.openapi.internal import schemas

    return fields({**schemas()[name]["properties"], **more})


def _run() -> Json:
    ran = {
        "status": one_of(["success", "error"]),
        "error": WORDS,
        "detail": WORDS,
        "requestId": WORDS,
        "ms": {"type": "number"},
    }
    error = fields({"error": TEXT})
    return operation(
        "run-schedule",
        "Run a schedule now",
        "own",
        {
            "200": json("How it went.", fields(ran), [FAULT]),
            "403": guarded(),
            "404": json("Not an id.", error),
            "409": json("Not run: it is running, disabled, or not there.", error),
            "500": _internal(),
        },
        parameters=[parameter("path", "schedule_id", "Its id.")],
    )


def _internal() -> Json:
    return json("The database does not answer.", fields({"error": one_of(["internal_error"])}))


def _healthz() -> Json:
    said = fields({"status": one_of(["ok"]), "version": TEXT})
    return {"get": operation("healthz", "Alive", "own", {"200": json("It lives.", said)})}


def _readyz() -> Json:
    state = {**TEXT, "description": "`ok`, `off`, or what is wrong."}
    said = fields({"ready": YES_OR_NO, "database": state, "runner": state, "redis": state})
    answers = {"200": json("All answer.", said), "503": json("Some do not.", said)}
    return {"get": operation("readyz", "Ready", "own", answers)}
