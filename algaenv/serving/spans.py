"""Spans of OpenTelemetry: their place in a trace (W3C Trace Context), and OTLP/JSON of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from algaenv import __version__

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
MAX_STATE_CHARS = 512
"""Of a tracestate that is passed on; the standard asks for as many at least."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_KINDS = {"internal": 1, "server": 2, "client": 3}
_ERROR = 2
_MAX_TEXT = 4_096
"""Characters of one text in a span."""

Kind = Literal["internal", "server", "client"]
Attribute = str | int | float | bool


class TraceContext(NamedTuple):
    """A span's place in a trace. Ids are lower-case hex: 32 digits, and 16."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""
    """The `tracestate` of the caller, which goes on as it came."""

    @classmethod
    def new(cls) -> TraceContext:
        """The first span of a new trace."""
        return cls(os.urandom(16).hex(), new_span_id())

    @classmethod
    def parse(cls, traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
        """The span of the caller; None without one, and for a header that the standard forbids."""
        match = _TRACEPARENT.fullmatch((traceparent or "").strip())
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more):
            return None
        if not trace_id.strip("0") or not span_id.strip("0"):
            return None
        state = (tracestate or "").strip()
        return cls(
            trace_id,
            span_id,
            sampled=bool(int(flags, 16) & _SAMPLED),
            state=state if len(state) <= MAX_STATE_CHARS else "",
        )

    def child(self) -> TraceContext:
        """A span below this one."""
        return self._replace(span_id=new_span_id())

    @property
    def headers(self) -> dict[str, str]:
        """What tells the next service of this span."""
        flags = "01" if self.sampled else "00"
        headers = {TRACEPARENT: f"00-{self.trace_id}-{self.span_id}-{flags}"}
        return {**headers, TRACESTATE: self.state} if self.state else headers


def new_span_id() -> str:
    """An id that no other span has."""
    return os.urandom(8).hex()


class SpanEvent(NamedTuple):
    """Something that happened in a span; `at` is Unix time in nanoseconds."""

    name: str
    at: int
    attributes: Mapping[str, Attribute]


class Span(NamedTuple):
    """A span that has ended. Times are Unix times in nanoseconds.

    `error` is None where nothing went wrong, and may be empty where no text says what did.
    """

    name: str
    kind: Kind
    context: TraceContext
    parent: str
    """The id of the span above; empty for the first of a trace."""
    begin: int
    end: int
    attributes: Mapping[str, Attribute]
    error: str | None = None
    events: Sequence[SpanEvent] = ()

    @property
    def size(self) -> int:
        """Bytes it takes while it waits, about."""
        return 1_000 + sum(200 + len(str(it.attributes)) for it in self.events)


def export_request(resource: Mapping[str, Attribute], spans: Iterable[Span]) -> dict[str, object]:
    """The body of a request to `/v1/traces`, as the JSON encoding of OTLP has it."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {
                        "scope": {"name": "algaenv", "version": __version__},
                        "spans": [_span(it) for it in spans],
                    }
                ],
            }
        ]
    }


def _span(span: Span) -> dict[str, object]:
    context = span.context
    fields: dict[str, object] = {
        "traceId": context.trace_id,
        "spanId": context.span_id,
        "name": span.name,
        "kind": _KINDS[span.kind],
        # 64 bits, which numbers of JSON need not have.
        "startTimeUnixNano": str(span.begin),
        "endTimeUnixNano": str(max(span.begin, span.end)),
        "attributes": _attributes(span.attributes),
    }
    if context.state:
        fields["traceState"] = context.state
    if span.parent:
        fields["parentSpanId"] = span.parent
    if span.error is not None:
        fields["status"] = {"code": _ERROR, "message": _text(span.error)}
    if span.events:
        fields["events"] = [
            {"name": it.name, "timeUnixNano": str(it.at), "attributes": _attributes(it.attributes)}
            for it in span.events
        ]
    return fields


def _attributes(attributes: Mapping[str, Attribute]) -> list[dict[str, object]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Attribute) -> dict[str, object]:
    # A boolean is an int for Python.
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": _text(value)}


def _text(text: str) -> str:
    """Text that is UTF-8 for sure: what a guest writes may hold half a character."""
    return text[:_MAX_TEXT].encode(errors="replace").decode()
