"""The ways to a handler and to its page: both gateways, and the runner below `/runner/`."""

from __future__ import annotations

from algaenv.gateway.direct import PREFIX as DIRECT
from algaenv.gateway.direct import direct
from algaenv.gateway.faults import HEADER as FAULT
from algaenv.gateway.limit import PER_SECOND, TOKENS
from algaenv.gateway.manner import FORWARDED, Manner
from algaenv.gateway.openapi.pieces import (
    TEXT,
    Json,
    answer,
    guarded,
    operation,
    parameter,
    refusal,
)
from algaenv.gateway.passage import KEY, OVERRIDE
from algaenv.gateway.policy import READS, TENANT_HEADERS
from algaenv.gateway.proxy import PREFIX as PROXY
from algaenv.gateway.proxy import proxy
from algaenv.gateway.runner_proxy import PREFIX as RUNNER
from algaenv.gateway.users import COOKIE, HEADER, QUERY

EXTENSION = parameter(
    "path", "extension", "Registry id, install id, or `publisher.name` in any case."
)
USERS = (
    parameter("header", HEADER, "Who asks: the name of a user. Before the query and the cookie."),
    parameter("query", QUERY, "The same. The handler does not see it."),
    parameter("cookie", COOKIE, "The same, left by the page; a name that nobody has is ignored."),
)
_TOLD = ("x-algaenv-request-id", "x-algaenv-runner-ms")
_FAILED = ("x-algaenv-error", "x-algaenv-reason", "x-algaenv-stderr")


def paths() -> Json:
    """Path → what can be asked there."""
    return {
        f"{DIRECT}{{extension}}/{{path}}": _gateway("direct", direct(cacheable=True)),
        f"{PROXY}{{extension}}/{{path}}": _gateway("proxy", proxy()),
        f"{RUNNER}{{path}}": _runner(),
    }


def _gateway(name: str, manner: Manner) -> Json:
    path = parameter("path", "path", "Path of a declared endpoint; slashes are not encoded.")
    found: Json = {"parameters": [EXTENSION, path]}
    for method in sorted(manner.methods):
        found[method.lower()] = _method(name, manner, method)
    found["options"] = operation(
        f"{name}-options",
        "What a page of another origin may send",
        name,
        {"204": answer("Nothing, with CORS headers for an origin that may ask."), "403": guarded()},
    )
    return found


def _method(name: str, manner: Manner, method: str) -> Json:
    parameters = [
        *USERS,
        *(parameter("header", it, "The handler sees it.") for it in FORWARDED if it != "accept"),
        *(
            parameter("header", it, "If there, the tenant of the session; else 403.")
            for it in TENANT_HEADERS
        ),
    ]
    more: Json = {"parameters": parameters}
    if method not in READS:
        seen = "The handler sees it." if manner.forwards_key else "The runner sees it."
        parameters.append(parameter("header", KEY, f"{seen} Made up when it is not there."))
        more["requestBody"] = {
            "description": f"At most {manner.most_bytes >> 20} MiB.",
            "content": {"*/*": {"schema": {}}},
        }
        if manner.overrides and method == "POST":
            parameters.append(
                parameter(
                    "query",
                    OVERRIDE,
                    "The method that this call stands for; may also be "
                    "a key of a JSON body, which then goes on without it.",
                )
            )
    return operation(
        f"{name}-{method.lower()}",
        f"Call a handler with {method}",
        name,
        _answers(manner, method),
        description="The status and body are the handler's. An answer of the gateway itself has "
        "the header `x-algaenv-hint`.",
        **more,
    )


def _answers(manner: Manner, method: str) -> Json:
    handler = answer(
        "The handler's answer.",
        {"*/*": {}},
        (*_TOLD, *_FAILED, *([FAULT] if manner.prefix == DIRECT else ())),
    )
    limited = refusal(
        f"More than {TOKENS} calls at once, or {PER_SECOND} a second.", "rate_limited"
    )
    limited["headers"]["retry-after"] = {"description": "Seconds.", "schema": TEXT}
    missing = ["extension_not_available", "endpoint_not_found"]
    bad = refusal(
        "The runner does not answer, or not with an answer of a handler.",
        "bad_gateway",
        more={"requestId": TEXT} if manner.prefix == DIRECT else None,
    )
    without = manner.without_bundle
    if without.status == 404:
        missing.append(str(without.fields["error"]))
    found: Json = {
        "200": handler,
        "401": refusal("No user has this name.", "Unauthorized"),
        "403": guarded("forbidden", "tenant_mismatch", "Product access denied"),
        "404": refusal("No such extension, or no such endpoint in its manifest.", *missing),
        "429": limited,
        "502": bad,
        "503": refusal("The database or Redis does not answer.", "access_policy_unavailable"),
        "default": handler,
    }
    if method not in READS:
        found["413"] = refusal("The body is too large.", manner.too_large)
    if manner.prefix == PROXY:
        found["504"] = refusal("The handler took too long.", "Gateway timeout")
    return found


def _runner() -> Json:
    errors = ("runner_unreachable", "runner_proxy_error")
    answers: Json = {
        "200": answer("The runner's answer.", {"*/*": {}}),
        "403": guarded(),
        "404": answer(
            "A path that climbs or hides a slash in a segment; or the runner's answer.",
            {"*/*": {}},
        ),
        "502": refusal("The runner does not answer.", *errors),
        "504": refusal("The runner took too long.", "runner_timeout"),
        "default": answer("The runner's answer.", {"*/*": {}}),
    }
    path = parameter("path", "path", "What the runner is asked for; slashes are not encoded.")
    return {
        "parameters": [path],
        **{
            method: operation(f"runner-{method}", "The runner's pages", "runner", answers)
            for method in ("get", "head")
        },
    }
