"""A small OpenTelemetry collector: it takes OTLP/JSON over HTTP, and reads it by its schema."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

SERVER, CLIENT, INTERNAL = 2, 3, 1
ERROR = 2


@dataclass(frozen=True, slots=True)
class Received:
    """A span that came in; ids are hex."""

    service: str
    message: SpanMessage
    resource: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.message.name

    @property
    def id(self) -> str:
        return self.message.span_id.hex()

    @property
    def parent(self) -> str:
        return self.message.parent_span_id.hex()

    @property
    def trace(self) -> str:
        return self.message.trace_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return _plain(self.message.attributes)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [_plain(it.attributes) for it in self.message.events]


@dataclass(slots=True)
class Collector:
    """What it answers, and what came in."""

    url: str
    status: int = 200
    seconds: float = 0.0
    body: bytes = b"{}"
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers of each, names in lower case."""
    spans: list[Received] = field(default_factory=list)
    """Of requests that were answered with 200."""
    news: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, wanted: Callable[[list[Received]], bool], seconds: float = 20) -> list[Received]:
        """The spans, once they are as wanted."""
        until = time.monotonic() + seconds
        with self.news:
            while not wanted(self.spans):
                left = until - time.monotonic()
                assert left > 0, [(it.service, it.name) for it in self.spans]
                self.news.wait(left)
            return list(self.spans)

    def wait_for_requests(self, number: int, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        with self.news:
            while len(self.requests) < number:
                left = until - time.monotonic()
                assert left > 0, self.requests
                self.news.wait(left)


def read_request(content: bytes) -> list[Received]:
    """The spans of a request. Fails for what is no OTLP, unknown fields included."""
    document = json.loads(content)
    # OTLP has ids in hex, where JSON of protobuf has base64.
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
                    assert span[name] == span[name].lower()
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    message = Parse(json.dumps(document), ExportTraceServiceRequest())
    found = []
    for group in message.resource_spans:
        about = _plain(group.resource.attributes)
        for scoped in group.scope_spans:
            found += [Received(about["service.name"], it, about) for it in scoped.spans]
    for it in found:
        assert len(it.message.trace_id) == 16
        assert len(it.message.span_id) == 8
        assert len(it.message.parent_span_id) in (0, 8)
        assert 0 < it.message.start_time_unix_nano <= it.message.end_time_unix_nano
    return found


def _plain(attributes: Any) -> dict[str, Any]:
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in attributes}


@contextmanager
def collector(host: str = "127.0.0.1") -> Iterator[Collector]:
    """Start one, and end it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = made.status, made.body
            if made.seconds:
                ended.wait(made.seconds)
            with made.news:
                made.requests.append((self.path, headers))
                if status == 200:
                    made.spans += read_request(content)
                made.news.notify_all()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # Who asked may have left.
                super().handle()

    ended = threading.Event()
    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    made = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
