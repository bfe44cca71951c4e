"""The exporter before a collector that takes spans, is slow, is down, or refuses."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from algaenv.serving import span_export
from algaenv.serving.span_export import ExportSettings, SpanExporter
from algaenv.serving.spans import Span, TraceContext
from tests.serving.collector import collector


def settings(url: str, **more: str) -> ExportSettings:
    read = ExportSettings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": url, **more}, "tested")
    assert read is not None
    return read


def span(name: str = "a", *, sampled: bool = True) -> Span:
    now = time.time_ns()
    context = TraceContext.new()._replace(sampled=sampled)
    return Span(name, "server", context, "", now, now + 1_000, {"n": 1})


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.02)


def warnings(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    return [it.fields for it in caplog.records if it.getMessage() == event]  # type: ignore[attr-defined]


def test_settings_are_those_of_the_standard() -> None:
    read = settings(
        "http://localhost:4318/",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20x, b=2",
        OTEL_RESOURCE_ATTRIBUTES="service.namespace=it,service.name=no",
        OTEL_SERVICE_NAME="mine",
    )
    assert read.url == "http://localhost:4318/v1/traces"
    assert read.headers == {"authorization": "Bearer x", "b": "2"}
    assert read.resource == {"service.namespace": "it", "service.name": "mine"}
    assert "Bearer" not in repr(read)
    assert settings("http://h").resource == {"service.name": "tested"}
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://h/own/path"}
    assert settings("http://other", **own).url == "https://h/own/path"


def test_without_an_endpoint_there_is_none() -> None:
    assert ExportSettings.read({}, "tested") is None
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_SDK_DISABLED": "TRUE"}
    assert ExportSettings.read(off, "tested") is None


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:x"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_HEADERS": "secret"},
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h",
                "OTEL_EXPORTER_OTLP_HEADERS": "a=secret%0a",
            },
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(variables: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named) as raised:
        ExportSettings.read(variables, "tested")
    assert "secret" not in str(raised.value)


def test_spans_arrive_with_the_headers() -> None:
    with collector() as it:
        exporter = SpanExporter(settings(it.url, OTEL_EXPORTER_OTLP_HEADERS="x-key=v"))
        exporter.add(span("one"), span("two"))
        exporter.add(span("unwanted", sampled=False))
        found = it.wait(lambda spans: len(spans) >= 2)
        assert sorted(each.name for each in found) == ["one", "two"]
        path, headers = it.requests[0]
        assert (path, headers["x-key"]) == ("/v1/traces", "v")
        assert headers["content-type"] == "application/json"
        exporter.add(span("last"))
        exporter.close(5)
        assert [each.name for each in it.spans][-1] == "last"
        assert exporter.dropped == 0


def test_a_collector_that_is_down_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(span_export, "MAX_ATTEMPTS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Nobody listens.
        url = f"http://user:password@127.0.0.1:{taken.getsockname()[1]}"
        lost: list[int] = []
        exporter = SpanExporter(settings(url), lost.append)
        for number in (1, 2, 3):
            exporter.add(span())
            _until(partial(_has, lost, number))
        exporter.close()
    assert sum(lost) == exporter.dropped == 3
    (warning,) = warnings(caplog, "cannot send spans")
    assert warning["url"] == url.replace("user:password@", "") + "/v1/traces"
    assert "4318" in warning["hint"]
    assert "password" not in caplog.text
    assert warnings(caplog, "spans were dropped") == [{"spans": 3}]


def test_a_collector_that_is_overloaded_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with collector() as it:
        it.status = 503
        exporter = SpanExporter(settings(it.url))
        exporter.add(span("late"))
        it.wait_for_requests(2)
        it.status = 200
        assert [each.name for each in it.wait(bool)] == ["late"]
        _until(lambda: bool(warnings(caplog, "spans are sent again")))
        exporter.close()
    assert len(warnings(caplog, "cannot send spans")) == 1
    assert exporter.dropped == 0


@pytest.mark.parametrize("status", [500, 404, 401])
def test_a_collector_that_refuses_is_not_asked_again(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with collector() as it:
        it.status = status
        lost: list[int] = []
        exporter = SpanExporter(settings(it.url), lost.append)
        exporter.add(span())
        _until(lambda: bool(lost))
        exporter.close()
        assert len(it.requests) == 1
    (warning,) = warnings(caplog, "cannot send spans")
    assert warning["why"].startswith(f"it answers {status}")


def test_what_the_collector_rejects_is_counted() -> None:
    with collector() as it:
        it.body = b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no"}}'
        exporter = SpanExporter(settings(it.url))
        exporter.add(span(), span(), span())
        exporter.close(5)
        assert exporter.dropped == 2


def test_a_slow_collector_costs_memory_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "MAX_QUEUE_BYTES", 20_000)
    with collector() as it:
        it.seconds = 30
        lost: list[int] = []
        exporter = SpanExporter(settings(it.url), lost.append)
        began = time.perf_counter()
        for _ in range(2_000):
            exporter.add(span())
        added = time.perf_counter() - began
        began = time.perf_counter()
        exporter.close(0.2)
        assert time.perf_counter() - began < 2
        assert added < 2
        # All but those that the thread had taken.
        assert 2_000 - 2 * span_export.BATCH_SPANS <= sum(lost) < 2_000


def _has(found: list[int], number: int) -> bool:
    return len(found) >= number


def _until(ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)
