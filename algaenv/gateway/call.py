"""One call of a handler: what is known of it, where that is reported, and what went wrong.

And the line of the access log that every request has; it holds no token, query or body.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Scope

from algaenv.gateway.audit import AuditEntry, AuditLog
from algaenv.gateway.events import EventBus
from algaenv.gateway.installs import Install
from algaenv.gateway.responses import Problem, header_text
from algaenv.gateway.runner_client import (
    TRACE_HEADER,
    EntryPoint,
    HandlerFailure,
    HandlerResult,
    RunnerOutcome,
    RunnerRefused,
    RunnerTimedOut,
    RunnerUnreachable,
)
from algaenv.gateway.users import User
from algaenv.serving.access_log import RECORD, SERVER_ERROR, fields_of, log_fields
from algaenv.serving.spans import TRACEPARENT, TRACESTATE, Attribute, Span, TraceContext

_MAX_PATH = 300

_requests = logging.getLogger("algaenv.gateway.request")
_CALL_PREFIXES = ("/api/ext/", "/api/ext-proxy/")


@dataclass(slots=True)
class AccessRecord:
    """What is known about a request; the code that serves it fills it in."""

    request_id: str | None = None
    extension: str | None = None
    """Its slug."""
    extension_id: str | None = None
    """Its registry id, as the runner logs it."""
    user: str | None = None
    runner_ms: float | None = None
    reason: str | None = None
    status: int = 500
    sent: int = 0


def write_record(scope: Scope, record: AccessRecord, seconds: float) -> None:
    """Log a request: calls of handlers at level info, failures at error, all else at debug."""
    path: str = scope["path"]
    level = logging.DEBUG
    if record.status >= SERVER_ERROR:
        level = logging.ERROR
    elif path.startswith(_CALL_PREFIXES):
        level = logging.INFO
    fields = {
        "request_id": record.request_id,
        "method": scope["method"],
        "path": path,
        "extension": record.extension,
        "extension_id": record.extension_id,
        "user": record.user,
        "status": record.status,
        "ms": round(seconds * 1000, 2),
        "runner_ms": record.runner_ms,
        "bytes": 0 if scope["method"] == "HEAD" else record.sent,
        "why": record.reason or None,
    }
    log_fields(_requests, level, "request", fields)


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """`12:00:01 POST /api/ext/… 200 12.3 ms (runner 9.8 ms) as msp`."""
        fields = fields_of(record)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.name != _requests.name:
            more = " ".join(f"{name}={value}" for name, value in fields.items())
            trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
            return f"{clock} {record.levelname.lower()}: {record.getMessage()} {more}{trace}"
        runner = f" (runner {fields['runner_ms']} ms)" if "runner_ms" in fields else ""
        user = f" as {fields['user']}" if "user" in fields else ""
        reason = f" - {fields['why']}" if "why" in fields else ""
        return (
            f"{clock} {fields['method']} {fields['path']!s:.100} {fields['status']} "
            f"{fields['ms']} ms{runner}{user}{reason}"
        )


@dataclass(frozen=True, slots=True)
class CallSpan:
    """The span of a call, from its arrival to its response; that of the runner lies below it."""

    context: TraceContext
    parent: str
    begun: int
    """Unix time in nanoseconds."""

    @classmethod
    def begin(cls, headers: Mapping[str, str]) -> CallSpan:
        """A span below that of the caller, if its `headers` name one."""
        caller = TraceContext.parse(headers.get(TRACEPARENT), headers.get(TRACESTATE))
        if caller is None:
            return cls(TraceContext.new(), "", time.time_ns())
        return cls(caller.child(), caller.span_id, time.time_ns())

    def end(self, call: CallRecord, status: int) -> Span:
        """The span of a call that ends now. Holds no query, no header and no body."""
        install, entry, user, problem = call.install, call.entry, call.user, call.problem
        attributes: dict[str, Attribute] = {
            "http.request.method": call.method,
            "http.response.status_code": status,
            "url.path": call.path[:_MAX_PATH],
            "algaenv.request.id": call.request_id,
            "algaenv.entry_point": call.entry_point.value,
        }
        name = call.method
        if install is not None:
            attributes["algaenv.extension"] = install.slug
            attributes["algaenv.extension.id"] = install.registry_id
            attributes["algaenv.tenant.id"] = install.tenant
            name += f" {install.slug}"
        if entry is not None:
            attributes["http.route"] = entry.endpoint.path
            name += entry.endpoint.path
        if user is not None:
            attributes["enduser.id"] = user.key
        if call.outcome is not None:
            attributes["algaenv.runner_ms"] = call.outcome.ms
        error = None
        if problem is not None:
            # Its summary may quote what the handler wrote, and that a secret.
            attributes["error.type"] = problem.code
        elif status >= SERVER_ERROR:
            attributes["error.type"] = str(status)
        if status >= SERVER_ERROR:
            error = problem.code if problem is not None else f"status {status}"
        return Span(
            name, "server", self.context, self.parent, self.begun, time.time_ns(), attributes, error
        )


@dataclass(slots=True)
class CallRecord:
    """Filled in while the call goes on; `end` reports all of it."""

    entry_point: EntryPoint
    request_id: str
    method: str
    path: str
    started: float = field(default_factory=time.perf_counter)
    user: User | None = None
    install: Install | None = None
    outcome: RunnerOutcome | None = None
    problem: Problem | None = None
    entry: AuditEntry | None = None
    """Its row in the audit, from the moment that one is there."""
    quirks: list[str] = field(default_factory=list)
    """Names of the product's faults that show in it."""
    wants_trace: bool = False
    """Whether the caller asks what the call did."""
    usable: bool = True
    """Whether HTTP has what the handler answers."""
    span: CallSpan | None = None
    """None where spans go nowhere."""

    def begin(self, events: EventBus) -> None:
        """Publish that the call goes to the runner."""
        events.publish({"type": "call-started", **self._event_fields()})

    def end(self, scope: Scope, response: Response, events: EventBus, audit: AuditLog) -> None:
        """Report the result: response headers, events, access log and audit."""
        headers = response.headers
        headers["x-algaenv-request-id"] = header_text(self.request_id)
        outcome, problem = self.outcome, self.problem
        ms = round((time.perf_counter() - self.started) * 1000, 2)
        event: dict[str, object] = {
            "type": "call-ended",
            **self._event_fields(),
            "status": response.status_code,
            "ms": ms,
        }
        if outcome is not None:
            headers["x-algaenv-runner-ms"] = f"{outcome.ms:g}"
            event["runner_ms"] = outcome.ms
        if problem is not None:
            event.update(problem.fields)
        if isinstance(outcome, HandlerResult) and (trace := outcome.trace):
            event["trace"] = trace
            if self.wants_trace:
                headers[TRACE_HEADER] = json.dumps(trace, separators=(",", ":"))
        if isinstance(outcome, HandlerResult) and outcome.error is not None:
            headers["x-algaenv-error"] = header_text(outcome.error)
            event["error"] = outcome.error
            if outcome.failure is not None:
                headers["x-algaenv-reason"] = header_text(outcome.failure.reason)
                event["reason"] = outcome.failure.reason
                if outcome.failure.host_call:
                    headers["x-algaenv-host-call"] = header_text(outcome.failure.host_call)
                if outcome.failure.hint:
                    headers["x-algaenv-hint"] = header_text(outcome.failure.hint)
                if outcome.failure.stderr:
                    headers["x-algaenv-stderr"] = header_text(outcome.failure.stderr[-1])
                self._publish_failure(events, outcome)
        events.publish(event)
        self._fill_record(scope, outcome)
        if self.entry is not None:
            audit.end(self.entry, outcome, usable=self.usable, ms=ms)

    def _publish_failure(self, events: EventBus, result: HandlerResult) -> None:
        if (failure := result.failure) is not None:
            events.publish(
                {
                    "type": "guest-failure",
                    **self._event_fields(),
                    "kind": failure.kind,
                    "reason": failure.reason,
                    "causes": failure.causes,
                    "stderr": failure.stderr,
                    "hint": failure.hint,
                    "host_call": failure.host_call,
                }
            )

    def _fill_record(self, scope: Scope, outcome: RunnerOutcome | None) -> None:
        record: AccessRecord | None = scope.get(RECORD)
        if record is None:
            return
        record.request_id = self.request_id
        record.extension = self.install.slug if self.install else None
        record.extension_id = self.install.registry_id if self.install else None
        record.user = self.user.key if self.user else None
        record.runner_ms = outcome.ms if outcome else None
        record.reason = f"{self.problem.code}: {self.problem.summary}" if self.problem else None

    def _event_fields(self) -> dict[str, object]:
        return {
            "extension": self.install.registry_id if self.install else None,
            "request_id": self.request_id,
            "gateway": self.entry_point.value,
            "method": self.method,
            "path": self.path[:_MAX_PATH],
            "user": self.user.key if self.user else None,
        }


def request_id(given: str | None) -> str:
    """The caller's own, else a new one."""
    return given or str(uuid.uuid4())


_RUNNER_HINTS = {
    "missing_routing_headers": "report it: the gateway always sends them",
    "unknown_capabilities": "remove the capability from the manifest, the config or granted_caps",
    "engine_init_failed": "see what algaenv logs runner shows",
    "bundle_fetch_failed": "run algaenv up; the bundle or its dist/main.wasm is not in the store",
    "secret_decrypt_failed": "save the secrets again, or look at the vault of the runner",
}
_FAILURE_HINTS = {
    "malformed": "build dist/main.wasm as a component, not as a core module",
    "compile": "build the component with a current toolchain",
    "limit": "raise the limit that the reason names; `ready_timeout` in the spec raises time",
    "link": "import only what Alga's runner offers; the reason names what it does not",
    "signature": "export the handler of the world alga:extension/runner",
    "trap": "read the last lines of its stderr; the reason names the instruction that gave up",
    "timeout": "let it do less in one call, or raise EXT_GATEWAY_TIMEOUT_MS",
    "memory": "let it hold less in memory",
    "exit": "return an answer instead of calling exit",
    "refused": "declare the capability for what it used, or do not use it",
    "request": "send a body that is base64",
}
_DEFAULT_HINT = "read x-algaenv-reason and what algaenv logs runner shows"


def diagnose(outcome: RunnerOutcome, timeout_ms: int) -> Problem | None:
    """The problem behind it; None when a handler answered."""
    match outcome:
        case HandlerResult(error=None):
            return None
        case HandlerResult(error=str() as error, failure=HandlerFailure() as failure):
            return Problem(
                "gateway-trap",
                f"cannot have an answer from the handler: {_sentence(error)}",
                failure.hint or _FAILURE_HINTS.get(failure.kind, _DEFAULT_HINT),
            )
        case HandlerResult(error=error):
            word = (error or "").partition(":")[0].strip()
            return Problem(
                "gateway-runner-failed",
                f"cannot run the handler: {error}",
                _RUNNER_HINTS.get(word, _DEFAULT_HINT),
            )
        case RunnerRefused():
            return _refusal(outcome)
        case RunnerUnreachable(reason=reason):
            return Problem(
                "gateway-runner-down",
                f"cannot reach the runner: {reason}",
                "see algaenv status and algaenv logs runner; algaenv up starts it",
            )
        case RunnerTimedOut():
            return Problem(
                "gateway-timeout",
                f"cannot wait longer than {timeout_ms} ms for the handler",
                _FAILURE_HINTS["timeout"],
            )


def _refusal(refused: RunnerRefused) -> Problem:
    if refused.status == 413:
        hint = "send less: Alga's runner takes 2 MiB of JSON, about 1.5 MB of body"
    elif refused.status == 503:
        hint = "try again; all places to run in this runner are taken, or it is stopping"
    else:
        hint = "see algaenv logs runner, and whether RUNNER_BASE_URL is a runner at all"
    reason = refused.error or refused.text
    return Problem(
        "gateway-runner-refused",
        f"cannot have an answer: the runner said {refused.status} {reason}".rstrip(),
        hint,
    )


def _sentence(error: str) -> str:
    return error.removeprefix("execute_failed:").strip()


def invalid_status(status: int) -> Problem:
    """The handler's status is none."""
    return Problem(
        "gateway-status-invalid",
        f"cannot pass on the status {status} of the handler: answers have 200 to 599",
        "answer with a status that exists; one that is no number arrives as 0",
    )


def body_not_allowed(status: int) -> Problem:
    """The handler's status goes without a body."""
    return Problem(
        "gateway-body-not-allowed",
        f"cannot pass on the body of the handler: an answer with {status} has none",
        "answer without a body, not even an empty one, or with status 200",
    )


def invalid_header(name: str) -> Problem:
    """A header of the handler holds what none may."""
    return Problem(
        "gateway-header-invalid",
        f"cannot pass on the header {name} of the handler: no header has such a value",
        "use one line of Latin-1",
    )
