"""The place of a span in a trace, and OTLP/JSON."""

from __future__ import annotations

import json

import pytest

from algaenv.serving.spans import Span, SpanEvent, TraceContext, export_request
from tests.serving.collector import CLIENT, ERROR, read_request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_caller_is_continued() -> None:
    caller = TraceContext.parse(f"00-{TRACE}-{SPAN}-01", "vendor=1,other=2")
    assert caller == TraceContext(TRACE, SPAN, sampled=True, state="vendor=1,other=2")
    child = caller.child()
    assert (child.trace_id, child.state) == (TRACE, "vendor=1,other=2")
    assert child.span_id != SPAN
    assert child.headers == {
        "traceparent": f"00-{TRACE}-{child.span_id}-01",
        "tracestate": "vendor=1,other=2",
    }


def test_a_caller_may_want_no_spans() -> None:
    caller = TraceContext.parse(f"00-{TRACE}-{SPAN}-00")
    assert caller is not None
    assert not caller.sampled
    assert caller.child().headers["traceparent"].endswith("-00")


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert TraceContext.parse(f"01-{TRACE}-{SPAN}-01-more") is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_a_header_that_the_standard_forbids_is_none(header: str | None) -> None:
    assert TraceContext.parse(header) is None


def test_a_new_trace() -> None:
    first, second = TraceContext.new(), TraceContext.new()
    assert first.trace_id != second.trace_id
    assert TraceContext.parse(first.headers["traceparent"]) == first


def test_a_request_is_otlp() -> None:
    context = TraceContext(TRACE, SPAN, state="a=b")
    span = Span(
        "storage.put",
        "client",
        context,
        "00f067aa0ba902b7",
        1_700_000_000_000_000_000,
        1_700_000_000_000_000_500,
        {"text": "ü\ud800", "whole": 2**62, "part": 0.5, "truth": True},
        "it failed",
        [SpanEvent("log", 1_700_000_000_000_000_100, {"message": "hi"})],
    )
    content = json.dumps(export_request({"service.name": "tested"}, [span])).encode()
    (read,) = read_request(content)
    assert (read.service, read.name, read.trace, read.id) == ("tested", "storage.put", TRACE, SPAN)
    assert read.parent == "00f067aa0ba902b7"
    assert read.message.kind == CLIENT
    assert read.message.trace_state == "a=b"
    assert read.message.start_time_unix_nano == span.begin
    assert read.message.end_time_unix_nano == span.end
    assert read.attributes == {"text": "ü?", "whole": 2**62, "part": 0.5, "truth": True}
    assert (read.message.status.code, read.message.status.message) == (ERROR, "it failed")
    assert read.events == [{"message": "hi"}]


def test_a_span_that_went_well_has_no_status() -> None:
    span = Span("a", "internal", TraceContext(TRACE, SPAN), "", 5, 6, {})
    content = json.dumps(export_request({"service.name": "tested"}, [span])).encode()
    (read,) = read_request(content)
    assert read.message.status.code == 0
    assert read.parent == ""
