"""What is told of a request to the runner: a line of the access log, and the spans of a call.

The line names the tenant, the extension and the outcome, and holds no key, query or address of the
store. Spans are there where an OpenTelemetry collector is named: one of the call, and one of each
host call below it. They hold no secret of the call.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from algaenv.runner.execute.invocation import CallTrace, HostCallTrace, Timings
from algaenv.runner.http import request_header
from algaenv.serving.access_log import SERVER_ERROR, log_fields
from algaenv.serving.spans import (
    TRACEPARENT,
    TRACESTATE,
    Attribute,
    Span,
    SpanEvent,
    TraceContext,
)

if TYPE_CHECKING:
    from algaenv.runner.execute.request_models import ExecuteRequest

_requests = logging.getLogger("algaenv.runner.request")
_QUIET = frozenset(("/healthz", "/readyz", "/metrics"))


@dataclass(slots=True)
class RequestLogEntry:
    """What is known about a request so far; the handler fills in what it learns."""

    tenant: str | None = None
    extension: str | None = None
    hash: str | None = None
    cache: str | None = None
    """`hit`, `miss`, or `spa-fallback` where the index answered for another path."""
    reason: str | None = None
    status: int = 500
    sent: int = 0
    extra: Mapping[str, object] | None = None
    """Further fields, such as the times of a call's parts."""


def write_entry(scope: Scope, entry: RequestLogEntry, seconds: float) -> None:
    """Log a request. Questions about health are of level debug: they come every few seconds."""
    level = logging.INFO
    if entry.status >= SERVER_ERROR:
        level = logging.ERROR
    elif scope["path"] in _QUIET:
        level = logging.DEBUG
    fields = {
        "request_id": request_header(scope, b"x-request-id"),
        "method": scope["method"],
        "path": scope["path"],
        "tenant": entry.tenant,
        "extension": entry.extension,
        "hash": entry.hash,
        "cache": entry.cache,
        "why": entry.reason,
        "status": entry.status,
        "duration_ms": round(seconds * 1000, 2),
        "bytes": 0 if scope["method"] == "HEAD" else entry.sent,
        **(entry.extra or {}),
    }
    log_fields(_requests, level, "request", fields)


SPAN_NAME = "run handler"
_STAGES = ("queued", "load", "instantiate", "run", "waiting")
_LOCAL = ("context.", "user.", "user-v2.", "secrets.")
"""Host calls that are answered without asking another service."""
_NS = 1_000_000_000
_SHORTEST_SECRET = 6
"""Characters; hiding shorter values would hide ordinary words."""


@dataclass(frozen=True, slots=True)
class CallSpan:
    """The span of a call under way, and what the call does."""

    context: TraceContext
    parent: str
    call: ExecuteRequest
    trace: CallTrace

    @classmethod
    def begin(cls, scope: Scope, call: ExecuteRequest) -> CallSpan:
        """A span below that of the gateway, if it names one."""
        trace = CallTrace(keeps_lines=True)
        caller = TraceContext.parse(
            request_header(scope, TRACEPARENT.encode()), request_header(scope, TRACESTATE.encode())
        )
        if caller is None:
            return cls(TraceContext.new(), "", call, trace)
        return cls(caller.child(), caller.span_id, call, trace)

    def end(self, timings: Timings, outcome: str, status: int, error: str | None) -> Iterator[Span]:
        """The spans of a call that ends now: its own, and those of its host calls."""
        end = time.time_ns()
        began = end - int((time.perf_counter() - self.trace.began) * _NS)
        mask = _mask(self.trace.secrets)
        yield Span(
            SPAN_NAME,
            "server",
            self.context,
            self.parent,
            began,
            end,
            self._attributes(timings, outcome, status, failed=error is not None),
            None if error is None else mask(error),
            [
                SpanEvent(
                    "log",
                    began + int(line.at * _NS),
                    {
                        "message": mask(line.message),
                        "log.severity": line.level,
                        "log.iostream": line.stream,
                    },
                )
                for line in self.trace.kept or ()
            ],
        )
        for host_call in self.trace.calls:
            yield self._host_call(host_call, began, mask)

    def _attributes(
        self, timings: Timings, outcome: str, status: int, *, failed: bool
    ) -> dict[str, Attribute]:
        context, http, trace = self.call.context, self.call.http, self.trace
        named = {
            "algaenv.request.id": context.request_id,
            "algaenv.tenant.id": context.tenant_id,
            "algaenv.extension.id": context.extension_id,
            "algaenv.install.id": context.install_id,
            "algaenv.version.id": context.version_id,
            "http.request.method": http.method,
            "url.path": http.path.partition("?")[0],
        }
        attributes: dict[str, Attribute] = {name: it for name, it in named.items() if it}
        attributes["http.response.status_code"] = status
        attributes["algaenv.outcome"] = outcome
        if failed:
            attributes["error.type"] = outcome
        for stage in _STAGES:
            if seconds := getattr(timings, stage):
                attributes[f"algaenv.{stage}_ms"] = round(seconds * 1000, 3)
        if more := trace.more:
            attributes["algaenv.host_calls.unlisted"] = more
        if more := trace.lines - len(trace.kept or ()):
            attributes["algaenv.log_lines.unlisted"] = more
        return attributes

    def _host_call(self, call: HostCallTrace, began: int, mask: Callable[[str], str]) -> Span:
        begin = began + int(call.at * _NS)
        attributes: dict[str, Attribute] = {
            "algaenv.host_call.sent_bytes": call.sent,
            "algaenv.host_call.received_bytes": call.received,
        }
        if call.about:
            attributes["algaenv.host_call.about"] = mask(call.about)
        if call.error:
            attributes["error.type"] = call.error
        return Span(
            call.name,
            "internal" if call.name.startswith(_LOCAL) else "client",
            self.context.child(),
            self.context.span_id,
            begin,
            begin + int(call.seconds * _NS),
            attributes,
            call.error or None,
        )


def _mask(secrets: Collection[str]) -> Callable[[str], str]:
    """What replaces the secrets of a call in a text by `***`; the longest first."""
    hidden = sorted((it for it in secrets if len(it) >= _SHORTEST_SECRET), key=len, reverse=True)
    if not hidden:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, hidden)))
    return lambda text: pattern.sub("***", text)
