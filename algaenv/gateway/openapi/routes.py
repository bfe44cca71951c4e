"""The gateways, the runner's pages, and routes that only this gateway has, for the document."""

from __future__ import annotations

from algaenv.gateway.dev_turns import MAX_BODY_BYTES as MAX_DEV_BYTES
from algaenv.gateway.dev_turns import PATH as DEV_PATH
from algaenv.gateway.openapi import PATH
from algaenv.gateway.openapi.components import (
    BOOLEAN,
    INTEGER,
    NULLABLE_STRING,
    STRING,
    TIMESTAMP,
    USERS,
    UUID,
    Json,
    array_of,
    enum_of,
    forbidden_response,
    json_response,
    object_of,
    operation,
    parameter,
    problem_response,
    ref,
    response,
)
from algaenv.gateway.page_proxy import PREFIX as RUNNER
from algaenv.gateway.pages import page_paths
from algaenv.gateway.policy import BURST, PER_SECOND, READ_METHODS, TENANT_HEADERS
from algaenv.gateway.proxy import IDEMPOTENCY_HEADER
from algaenv.gateway.quirks import QUIRK_HEADER as FAULT
from algaenv.gateway.rules import DIRECT_PREFIX as DIRECT
from algaenv.gateway.rules import (
    FORWARDED_HEADERS,
    METHOD_OVERRIDE,
    GatewayRules,
    direct_rules,
    proxy_rules,
)
from algaenv.gateway.rules import PROXY_PREFIX as PROXY
from algaenv.gateway.settings import DEFAULT_TAIL, MAX_TAIL

EXTENSION = parameter(
    "path", "extension", "Registry id, install id, or `publisher.name` in any case."
)
_CALL_HEADERS = ("x-algaenv-request-id", "x-algaenv-runner-ms")
_FAILURE_HEADERS = ("x-algaenv-error", "x-algaenv-reason", "x-algaenv-stderr")


def gateway_paths() -> Json:
    """Path → what can be asked there."""
    return {
        f"{DIRECT}{{extension}}/{{path}}": _gateway("direct", direct_rules(cacheable=True)),
        f"{PROXY}{{extension}}/{{path}}": _gateway("proxy", proxy_rules()),
        RUNNER.removesuffix("/"): _runner_root(),
        f"{RUNNER}{{path}}": _runner(),
    }


def _gateway(name: str, rules: GatewayRules) -> Json:
    path = parameter("path", "path", "Path of a declared endpoint; slashes are not encoded.")
    found: Json = {"parameters": [EXTENSION, path]}
    for method in sorted(rules.methods):
        found[method.lower()] = _method(name, rules, method)
    found["options"] = operation(
        f"{name}-options",
        "What a page of another origin may send",
        name,
        {
            "204": response("Nothing, with CORS headers for an origin that may ask."),
            "403": forbidden_response(),
        },
    )
    return found


def _method(name: str, rules: GatewayRules, method: str) -> Json:
    parameters = [
        *USERS,
        *(
            parameter("header", it, "The handler sees it.")
            for it in FORWARDED_HEADERS
            if it != "accept"
        ),
        *(
            parameter("header", it, "If there, the tenant of the session; else 403.")
            for it in TENANT_HEADERS
        ),
    ]
    more: Json = {"parameters": parameters}
    if method != "GET":
        seen = "The handler sees it." if rules.handler_sees_ids else "The runner sees it."
        parameters.append(
            parameter("header", IDEMPOTENCY_HEADER, f"{seen} Made up when it is not there.")
        )
    if method not in READ_METHODS:
        more["requestBody"] = {
            "description": f"At most {rules.max_body_bytes >> 20} MiB.",
            "content": {"*/*": {"schema": {}}},
        }
        if rules.allows_override and method == "POST":
            parameters.append(
                parameter(
                    "query",
                    METHOD_OVERRIDE,
                    "The method that this call stands for; may also be "
                    "a key of a JSON body, which then goes on without it.",
                )
            )
    return operation(
        f"{name}-{method.lower()}",
        f"Call a handler with {method}",
        name,
        _answers(rules, method),
        description="The status and body are the handler's. An answer of the gateway itself has "
        "the header `x-algaenv-hint`.",
        **more,
    )


def _answers(rules: GatewayRules, method: str) -> Json:
    handler = response(
        "The handler's answer.",
        {"*/*": {}},
        (*_CALL_HEADERS, *_FAILURE_HEADERS, FAULT),
    )
    limited = problem_response(
        f"More than {BURST} calls at once, or {PER_SECOND} a second.", "rate_limited"
    )
    limited["headers"]["retry-after"] = {"description": "Seconds.", "schema": STRING}
    missing = ["extension_not_available", "endpoint_not_found"]
    bad = problem_response(
        "The runner does not answer, or not with an answer of a handler.",
        "bad_gateway",
        more={"requestId": STRING},
    )
    without = rules.bundle_missing("")
    if without.status == 404:
        missing.append(str(without.fields["error"]))
    found: Json = {
        "200": handler,
        "401": problem_response("No user has this name.", "Unauthorized"),
        "403": forbidden_response("forbidden", "tenant_mismatch", "Product access denied"),
        "404": problem_response(
            "No such extension, or no such endpoint in its manifest.", *missing
        ),
        "429": limited,
        "502": bad,
        "503": problem_response(
            "The database or Redis does not answer, or HTTP cannot carry the handler's answer.",
            "access_policy_unavailable",
        ),
        "default": handler,
    }
    if method not in READ_METHODS:
        found["413"] = problem_response("The body is too large.", rules.too_large_error)
    return found


def _runner_root() -> Json:
    found = _runner()["get"]
    return {"get": {**found, "operationId": "runner-root", "summary": "The runner's own root"}}


def _runner() -> Json:
    errors = ("runner_unreachable", "runner_proxy_error")
    answers: Json = {
        "200": response("The runner's answer.", {"*/*": {}}),
        "403": forbidden_response(),
        "404": response(
            "A path that climbs or hides a slash in a segment; or the runner's answer.",
            {"*/*": {}},
        ),
        "502": problem_response("The runner does not answer.", *errors),
        "504": problem_response("The runner took too long.", "runner_timeout"),
        "default": response("The runner's answer.", {"*/*": {}}),
    }
    path = parameter("path", "path", "What the runner is asked for; slashes are not encoded.")
    return {
        "parameters": [path],
        **{
            method: operation(f"runner-{method}", "The runner's pages", "runner", answers)
            for method in ("get", "head")
        },
    }


_HTML = "text/html"
_STREAM = "text/event-stream"


def own_paths() -> Json:
    """Path → what can be asked there."""
    return {
        **page_paths(),
        "/algaenv/events": _events(),
        DEV_PATH: _dev(),
        "/algaenv/invoices": _invoices(),
        "/algaenv/schedules": _schedules(),
        "/algaenv/schedules/{schedule_id}/run": {"post": _run()},
        PATH: _get("openapi", "This document", {"200": json_response("It.", {"type": "object"})}),
        "/api/ext-debug/stream": _debug_stream(),
        "/healthz": _healthz(),
        "/readyz": _readyz(),
    }


def _get(identity: str, summary: str, answers: Json, **more: Json | list[Json]) -> Json:
    return {
        "get": operation(identity, summary, "own", {**answers, "403": forbidden_response()}, **more)
    }


def _events() -> Json:
    parameters = [
        parameter("query", "extension", "Registry id; events of no extension come too."),
        parameter("query", "after", "Id of the last event that is known."),
        parameter("header", "last-event-id", "The same, as browsers send it."),
    ]
    return _get(
        "events",
        "What happened lately, then what happens",
        {"200": response("Does not end.", {_STREAM: STRING})},
        parameters=parameters,
    )


def _dev() -> Json:
    def refused(text: str, *errors: str) -> Json:
        return json_response(text, object_of({"error": enum_of(errors), "reason": STRING}))

    digests = {
        "type": ["object", "null"],
        "additionalProperties": NULLABLE_STRING,
        "description": "Registry id → digest of the bundle that is installed now; null without a "
        "database.",
    }
    last = {**INTEGER, "description": "The last event before the turns were read."}
    known = object_of({"last": last, "digests": digests, "turns": array_of(ref("DevTurn"))})
    told = object_of({"extensions": array_of(STRING)})
    forbidden = forbidden_response()
    plain = object_of({"error": enum_of(["dev_disabled"]), "reason": STRING})
    content = forbidden["content"]["application/json"]
    content["schema"] = {"anyOf": [content["schema"], plain]}
    return {
        "get": operation(
            "dev-state",
            "The last turn of each extension, as `algaenv dev` reported it",
            "own",
            {
                "200": json_response("Without `algaenv dev` there are no turns.", known),
                "403": forbidden_response(),
            },
            parameters=[parameter("query", "extension", "Registry id; else all.")],
        ),
        "post": operation(
            "dev-report",
            "What `algaenv dev` reports",
            "own",
            {
                "200": json_response("The extensions whose turn is known.", told),
                "400": refused("It is no message.", "invalid_body"),
                "401": refused("The token is missing or wrong.", "unauthorized"),
                "403": forbidden,
                "408": response("The body is too slow."),
                "413": refused("The body is too large.", "payload_too_large"),
            },
            requestBody={
                "description": f"At most {MAX_DEV_BYTES >> 10} KiB.",
                "required": True,
                "content": {"application/json": {"schema": ref("DevMessage")}},
            },
            security=[{"devToken": []}],
        ),
    }


def _debug_stream() -> Json:
    parameters = [
        parameter("query", "extensionId", "Registry id, in any case.", required=True),
        parameter("query", "tenantId", "Any tenant, in any case; else that of the users."),
        parameter("query", "installId", "Only what this install says, in any case."),
        parameter("query", "requestId", "Only what is said during this call, in any case."),
        *USERS,
    ]
    reading = [
        parameter("query", "tail", f"Entries of the past; {DEFAULT_TAIL}, at most {MAX_TAIL}."),
        parameter("header", "last-event-id", "The entry to go on from, as browsers send it."),
    ]

    def error(text: str, *words: str) -> Json:
        return json_response(text, object_of({"error": enum_of(words)}))

    refusals = {
        "400": error("No extension.", "extensionId is required"),
        "401": error("No user has this name.", "Unauthorized"),
        "403": forbidden_response("Forbidden"),
        "503": error("No Redis answers.", "debug_stream_unavailable"),
    }
    last = {"lastId": {"type": ["string", "null"], "description": "The last entry known."}}
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": last}}}}
    events = object_of({"events": array_of({"type": "object"}), "lastId": STRING})
    return {
        "get": operation(
            "debug-stream",
            "What guests log",
            "own",
            {"200": response("Does not end.", {_STREAM: STRING}), **refusals},
            parameters=[*parameters, *reading],
        ),
        "post": operation(
            "debug-poll",
            "What guests have logged since",
            "own",
            {
                "200": json_response("A hundred at most, oldest first.", events),
                **refusals,
                "413": error("The body is too large.", "payload_too_large"),
                "500": error("`lastId` is none.", "Internal error"),
            },
            parameters=parameters,
            requestBody=body,
        ),
    }


def _invoices() -> Json:
    item = {
        "serviceId": UUID,
        "quantity": {"type": "number"},
        "description": STRING,
        "rate": {"type": "number"},
        "isDiscount": BOOLEAN,
        "discountType": enum_of(["percentage", "fixed", None]),
        "appliesToItemId": NULLABLE_STRING,
        "appliesToServiceId": NULLABLE_STRING,
    }
    more = {
        "clientId": UUID,
        "clientName": STRING,
        "items": array_of(object_of(item)),
        "invoiceDate": NULLABLE_STRING,
        "dueDate": NULLABLE_STRING,
        "poNumber": NULLABLE_STRING,
        "installId": UUID,
        "extensionId": UUID,
        "createdAt": TIMESTAMP,
    }
    listed = _joined("Invoice", more)
    answers = {"200": json_response("Newest first.", object_of({"invoices": array_of(listed)}))}
    return _get("invoices", "The invoices that extensions made", answers)


def _schedules() -> Json:
    more = {"installId": UUID, "extensionId": NULLABLE_STRING, "nextRunAt": TIMESTAMP}
    listed = object_of({"schedules": array_of(_joined("Schedule", more))})
    answers = {"200": json_response("Oldest first.", listed), "500": _internal()}
    return _get("schedules", "All schedules of the tenant, with their next run", answers)


def _joined(name: str, more: dict[str, Json]) -> Json:
    """A shape of the internal APIs with more fields."""
    from algaenv.gateway.openapi.api_routes import schemas

    return object_of({**schemas()[name]["properties"], **more})


def _run() -> Json:
    ran = {
        "status": enum_of(["success", "error"]),
        "error": NULLABLE_STRING,
        "detail": NULLABLE_STRING,
        "requestId": NULLABLE_STRING,
        "ms": {"type": "number"},
    }
    error = object_of({"error": STRING})
    return operation(
        "run-schedule",
        "Run a schedule now",
        "own",
        {
            "200": json_response("How it went.", object_of(ran), [FAULT]),
            "403": forbidden_response(),
            "404": json_response("Not an id.", error),
            "409": json_response("Not run: it is running, disabled, or there is none.", error),
            "500": _internal(),
        },
        parameters=[parameter("path", "schedule_id", "Its id.")],
    )


def _internal() -> Json:
    return json_response(
        "The database does not answer.", object_of({"error": enum_of(["internal_error"])})
    )


def _healthz() -> Json:
    fields = object_of({"status": enum_of(["ok"]), "version": STRING})
    return {
        "get": operation("healthz", "Alive", "own", {"200": json_response("It lives.", fields)})
    }


def _readyz() -> Json:
    state = {**STRING, "description": "`ok`, `off`, or what is wrong."}
    fields = object_of({"ready": BOOLEAN, "database": state, "runner": state, "redis": state})
    answers = {
        "200": json_response("All answer.", fields),
        "503": json_response("Some do not.", fields),
    }
    return {"get": operation("readyz", "Ready", "own", answers)}
