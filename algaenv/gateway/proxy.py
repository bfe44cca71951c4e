"""`ExtensionProxy`: a request becomes a call of a handler, and its result the response.

The user is selected, the policy decides, the rate limit counts, the audit row is written, and the
runner is asked, in this order.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from algaenv.gateway.audit import MAX_REQUEST_ID, AuditEntry
from algaenv.gateway.call import (
    CallRecord,
    CallSpan,
    body_not_allowed,
    diagnose,
    invalid_header,
    invalid_status,
    request_id,
)
from algaenv.gateway.installs import FoundInstall, Install
from algaenv.gateway.policy import (
    READ_METHODS,
    Denied,
    RateLimiter,
    RateLimiterUnavailable,
    authorise,
    check_tenant,
    unknown_user,
)
from algaenv.gateway.quirks import QUIRK_HEADER
from algaenv.gateway.responses import (
    PROBLEM_JSON,
    Problem,
    accepts_problem,
    header_text,
    is_header_value,
    json_response,
    problem_response,
)
from algaenv.gateway.rules import (
    FORWARDED_HEADERS,
    UNAVAILABLE_BODY,
    GatewayRules,
    override_method,
)
from algaenv.gateway.runner_client import (
    TRACE_HEADER,
    EntryPoint,
    HandlerRequest,
    HandlerResult,
)
from algaenv.gateway.state import AppState
from algaenv.gateway.urls import RequestTarget, parse_target
from algaenv.serving.request_limits import (
    BodyTooLarge,
    BodyTooSlow,
    body_timeout_response,
    read_body,
)

REQUEST_ID_HEADER = "x-request-id"
IDEMPOTENCY_HEADER = "x-idempotency-key"

T = TypeVar("T")

_DIRECT_CACHEABLE = "direct-cacheable"
_BODILESS_BODY = "bodiless-body"
_CLIENT_NAME = "client-name"

_BODILESS = frozenset((204, 205, 304))
_STATUS_VALUES = 1 << 16
"""The product keeps 16 bits of a status."""
_READ_AT_ONCE_BYTES = 256 * 1024
_BLANKS = " \t\r\n"
_RUNS_FROM = "x-algaenv-runs-from"
"""Set by the runner where `dev` has it evaluate the source of a handler."""
_CLIENT_CLOSED_REQUEST = 499

_log = logging.getLogger(__name__)


class CallDenied(Exception):
    """The call does not go on."""

    def __init__(self, denied: Denied) -> None:
        self.denied = denied
        super().__init__(denied.problem.summary)


class DatabaseSilent(Exception):
    """The database did not answer within the time of the call."""


class ExtensionProxy:
    """One of the two entry points for handlers, as an ASGI application."""

    def __init__(self, state: AppState, limit: RateLimiter, rules: GatewayRules) -> None:
        self._state = state
        self._rate_limiter = limit
        self._rules = rules
        self._announced: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request below the prefix."""
        request = Request(scope, receive)
        target = parse_target(scope, self._rules.prefix)
        if target is None:
            response: Response = json_response(404, {"error": "not_found"})
        elif request.method == "OPTIONS":
            response = Response(status_code=204)
        elif request.method not in self._rules.methods:
            response = Response(status_code=405)
        else:
            response = await self._respond(request, target)
        self._add_cors_headers(request, response)
        await response(scope, receive, send)

    async def _respond(self, request: Request, target: RequestTarget) -> Response:
        call = CallRecord(
            self._rules.entry_point,
            request_id(request.headers.get("x-request-id")),
            request.method,
            target.path,
            wants_trace=TRACE_HEADER in request.headers,
            span=CallSpan.begin(request.headers) if self._state.spans is not None else None,
        )
        try:
            response = await self._handle(request, target, call)
        except CallDenied as error:
            response = _denied_response(request.scope, call, error.denied)
        except ClientDisconnect:
            response = Response(status_code=_CLIENT_CLOSED_REQUEST)
        except BodyTooSlow:
            response = body_timeout_response()
        except Exception as error:
            response = _denied_response(request.scope, call, _unavailable(error))
        call.end(request.scope, response, self._state.events, self._state.audit)
        if call.span is not None and self._state.spans is not None:
            self._state.spans.add(call.span.end(call, response.status_code))
        return response

    async def _handle(self, request: Request, target: RequestTarget, call: CallRecord) -> Response:
        state, rules = self._state, self._rules
        headers = request.headers
        user = state.users.select(headers, request.query_params, request.cookies)
        if user is None:
            raise CallDenied(unknown_user(state.users.all))
        call.user = user
        if denied := check_tenant(headers, state.tenant):
            raise CallDenied(denied)
        query, body, is_read = target.query, None, request.method == "GET"
        if rules.allows_override and request.method == "POST":
            body = await self._read_body(request)
            if len(body) > _READ_AT_ONCE_BYTES:  # To parse it takes as long as many other calls.
                override = await asyncio.to_thread(override_method, target.query, body)
            else:
                override = override_method(target.query, body)
            call.method, query, body = override
            is_read = True
        now = asyncio.get_running_loop().time
        deadline = now() + state.config.timeout_ms / 1000
        found = await _before_deadline(state.installs.find_with_product(target.ref), deadline)
        call.install = found.install
        decision = authorise(
            found,
            user,
            call.method,
            target.path,
            ref=target.ref,
            disabled_checks=state.settings.checks_off,
        )
        if isinstance(decision, Denied):
            raise CallDenied(decision)
        if not target.is_text:
            raise CallDenied(_INVALID_PATH)
        install = decision.install
        if seconds := await self._rate_limiter.take(install):
            raise CallDenied(_rate_limited(install, seconds))
        if reason := _not_auditable(call):
            raise CallDenied(reason)
        entry = AuditEntry(
            install, decision.endpoint, user, call.request_id, call.method, target.path
        )
        await _before_deadline(state.audit.begin(entry), deadline)
        call.entry = entry
        if install.content_hash is None:
            raise CallDenied(self._bundle_missing(install, call.request_id))
        if not is_read:
            since = now()
            # A HEAD has no body, and a handler gets an empty one.
            body = b"" if call.method == "HEAD" else await self._read_body(request)
            # A slow caller does not shorten the handler's time.
            deadline += now() - since
        handled = HandlerRequest(
            call.method, target.path, query, self._handler_headers(request, call), body
        )
        return await self._forward(request, call, found, handled, deadline=deadline)

    def _handler_headers(self, request: Request, call: CallRecord) -> dict[str, str]:
        """Those of the caller that the handler sees."""
        headers = {
            name: value
            for name in FORWARDED_HEADERS
            if (value := request.headers.get(name)) is not None
        }
        if self._rules.handler_sees_ids:
            headers[REQUEST_ID_HEADER] = call.request_id
            key = request.headers.get(IDEMPOTENCY_HEADER)
            if key is None and call.method != "GET":
                key = str(uuid.uuid4())
            if key is not None:
                headers[IDEMPOTENCY_HEADER] = key
        return headers

    async def _forward(
        self,
        request: Request,
        call: CallRecord,
        found: FoundInstall,
        handled: HandlerRequest,
        *,
        deadline: float,
    ) -> Response:
        state, rules = self._state, self._rules
        install, user = found.install, call.user
        assert install is not None and user is not None  # noqa: S101, PT018 - the call is allowed
        if state.quirks.reproduces(_CLIENT_NAME):
            company: str | None = found.tenant_name
        else:
            company = user.client_name or None
        timeout_ms = state.config.timeout_ms
        call.begin(state.events)
        outcome = call.outcome = await state.runner.execute(
            install,
            handled,
            entry_point=rules.entry_point,
            request_id=call.request_id,
            timeout_ms=timeout_ms,
            seconds=max(0.0, deadline - asyncio.get_running_loop().time()),
            user=user,
            company=company,
            idempotency_key=request.headers.get(IDEMPOTENCY_HEADER),
            trace_headers=call.span.context.headers if call.span is not None else None,
        )
        call.problem = diagnose(outcome, timeout_ms)
        if isinstance(outcome, HandlerResult):
            response = self._handler_response(request.scope, call, outcome)
        else:
            answer = rules.failure_response(outcome, call.request_id)
            assert call.problem is not None  # noqa: S101
            response = problem_response(request.scope, answer.status, answer.fields, call.problem)
        self._announce_quirks(call, response)
        return response

    def _handler_response(self, scope: Scope, call: CallRecord, result: HandlerResult) -> Response:
        status = result.status % _STATUS_VALUES
        headers = {
            name: value.strip(_BLANKS)
            for name, value in self._rules.response_headers(result).items()
        }
        if _RUNS_FROM in result.runner_headers:
            headers[_RUNS_FROM] = "source"
        if problem := self._unusable(status, headers, call, result):
            call.usable = False
            answer = self._rules.unusable_response(call.request_id)
            response = _denied_response(scope, call, Denied(answer.status, answer.fields, problem))
            # The handler is to blame, and asking again does not help.
            response.headers["x-algaenv-reason"] = header_text(problem.summary)
            return response
        if call.problem is not None and accepts_problem(scope):
            details: dict[str, object] = {**call.problem.fields}
            if result.failure is not None:
                failure = result.failure
                details.update(reason=failure.reason, stderr=failure.stderr)
                details.update({"host_call": failure.host_call} if failure.host_call else {})
            response = json_response(status, {"problem": details})
            response.headers["content-type"] = PROBLEM_JSON
            return response
        return Response(b"" if status in _BODILESS else result.body, status, headers)

    def _unusable(
        self, status: int, headers: Mapping[str, str], call: CallRecord, result: HandlerResult
    ) -> Problem | None:
        """Why HTTP does not have what the handler answers."""
        if not 200 <= status <= 599:
            return invalid_status(result.status)
        for name, value in headers.items():
            if not is_header_value(value):
                return invalid_header(name)
        if (
            status in _BODILESS
            and result.body is not None
            and self._state.quirks.reproduces(_BODILESS_BODY)
        ):
            call.quirks.append(_BODILESS_BODY)
            return body_not_allowed(status)
        return None

    def _announce_quirks(self, call: CallRecord, response: Response) -> None:
        """Publish and log a quirk once for each extension; set the header every time."""
        quirks, install, user = self._state.quirks, call.install, call.user
        direct = self._rules.entry_point is EntryPoint.DIRECT
        if direct and call.usable and call.method in READ_METHODS and _is_handled(call):
            call.quirks.append(_DIRECT_CACHEABLE)
        if user is not None and user.client_name:
            call.quirks.append(_CLIENT_NAME)
        found = [name for name in call.quirks if quirks.reproduces(name)]
        if install is None or not found:
            return
        for name in found:
            if (install.registry_id, name) not in self._announced:
                self._announced.add((install.registry_id, name))
                quirks.announce(name, extension=install.registry_id, request_id=call.request_id)
        response.headers[QUIRK_HEADER] = ", ".join(found)

    async def _read_body(self, request: Request) -> bytes:
        most = self._rules.max_body_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and len(declared) < 20 and int(declared) > most:
            raise CallDenied(self._too_large())
        try:
            return await read_body(request, most)
        except BodyTooLarge:
            raise CallDenied(self._too_large()) from None

    def _too_large(self) -> Denied:
        most = self._rules.max_body_bytes >> 20
        return Denied(
            413,
            {"error": self._rules.too_large_error},
            Problem(
                "gateway-body-too-large",
                f"cannot take a body of more than {most} MiB",
                "send less at once; Alga's runner takes about 1.5 MB anyway",
            ),
        )

    def _bundle_missing(self, install: Install, request_id: str) -> Denied:
        answer = self._rules.bundle_missing(request_id)
        return Denied(
            answer.status,
            answer.fields,
            Problem(
                "gateway-bundle-missing",
                f"cannot call {install.slug}: version {install.version} has no bundle",
                "run algaenv up",
            ),
        )

    def _add_cors_headers(self, request: Request, response: Response) -> None:
        """Let a page of another origin read the response, where this entry point allows it."""
        origin = request.headers.get("origin")
        if origin is None:
            return
        response.headers.add_vary_header("Origin")
        same_origin = origin == f"http://{request.headers.get('host', '')}"
        listed = origin in self._state.config.allowed_origins
        # The product answers every OPTIONS before its handlers, and allows any origin.
        checked = self._rules.entry_point is EntryPoint.PROXY and request.method != "OPTIONS"
        if checked and not (same_origin or listed):
            return
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-allow-credentials"] = "true"
        if request.method == "OPTIONS":
            response.headers["access-control-allow-methods"] = (
                "GET, POST, PUT, PATCH, DELETE, OPTIONS"
            )
            response.headers["access-control-allow-headers"] = (
                "content-type, x-request-id, x-idempotency-key, x-alga-tenant, x-algaenv-user"
            )
            response.headers["access-control-max-age"] = "600"
        else:
            response.headers["access-control-expose-headers"] = (
                "x-algaenv-request-id, x-algaenv-error, x-algaenv-reason, x-algaenv-runner-ms"
            )


async def _before_deadline(work: Awaitable[T], deadline: float) -> T:
    """The result of database work before the call's deadline. Raises DatabaseSilent, and what the
    work raises."""
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise DatabaseSilent from None


def _is_handled(call: CallRecord) -> bool:
    return isinstance(call.outcome, HandlerResult)


def _denied_response(scope: Scope, call: CallRecord, denied: Denied) -> Response:
    call.problem = denied.problem
    response = problem_response(scope, denied.status, denied.body, denied.problem)
    if denied.retry_after is not None:
        response.headers["retry-after"] = str(denied.retry_after)
    if denied.status == 413:
        # What the caller still sends is not read.
        response.headers["connection"] = "close"
    return response


_INVALID_PATH = Denied(
    404,
    {"error": "endpoint_not_found"},
    Problem(
        "gateway-endpoint-undeclared",
        "cannot call a path that is not UTF-8",
        "encode the path as UTF-8 before it is percent-encoded",
    ),
)


def _rate_limited(install: Install, seconds: int) -> Denied:
    return Denied(
        429,
        {"error": "rate_limited"},
        Problem(
            "gateway-rate-limited",
            f"cannot call {install.slug} more than 60 times at once and once a second",
            f"wait {seconds} s, or set gateway.rate_limit to off",
        ),
        retry_after=seconds,
    )


def _not_auditable(call: CallRecord) -> Denied | None:
    """The product cannot write the row of such a call."""
    if len(call.request_id) > MAX_REQUEST_ID:
        reason = f"its x-request-id has more than {MAX_REQUEST_ID} characters"
    elif "\0" in call.path:
        reason = "its path holds a NUL"
    else:
        return None
    return Denied(
        503,
        UNAVAILABLE_BODY,
        Problem(
            "gateway-audit-refused",
            f"cannot note the call in the audit: {reason}",
            "send less, or something else",
        ),
    )


def _unavailable(error: Exception) -> Denied:
    """The product gives the same answer for every unexpected error."""
    import psycopg

    if isinstance(error, psycopg.DataError):
        problem = Problem(
            "gateway-extension-unknown",
            "cannot look for an extension under this id: the database refuses it",
            "write the id without blanks around it",
        )
    elif isinstance(error, psycopg.Error | DatabaseSilent):
        words = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        problem = Problem(
            "gateway-database-down",
            f"cannot ask the database: {words or type(error).__name__}",
            "see algaenv status; algaenv up starts the database and makes its tables",
        )
    elif isinstance(error, RateLimiterUnavailable):
        problem = Problem(
            "gateway-redis-down",
            f"cannot count calls: {error}",
            "start Redis with algaenv up, or set gateway.rate_limit to off",
        )
    else:
        _log.exception("unexpected", exc_info=error)
        problem = Problem(
            "gateway-unexpected",
            f"cannot go on: {type(error).__name__}",
            "report it with what algaenv logs gateway shows",
        )
    return Denied(503, UNAVAILABLE_BODY, problem)
