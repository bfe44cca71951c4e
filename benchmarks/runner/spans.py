"""What it costs a runner under load that it sends a span for each call and host call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Final

from benchmarks.command import Unmeasured
from benchmarks.runner import components
from benchmarks.runner.bench import Bench
from benchmarks.runner.calls import ANSWERED, CONNECTIONS, EXECUTE, HEADERS
from benchmarks.runner.rows import Row
from benchmarks.runner.service import Service, processor_seconds
from benchmarks.runner.wrk import load

SECONDS: Final = 5


def spans(bench: Bench) -> None:
    """Processor time a call of two runners, in turn: one sends spans, one does not."""
    digest = bench.handler()
    body = components.call(digest.prefixed, "/typical")
    traced = {"RUNNER_TRACE_CALLS": "true"}
    with (
        _collector() as url,
        bench.service(bench.warm_cache, **traced) as plain,
        bench.service(bench.warm_cache, **traced, OTEL_EXPORTER_OTLP_ENDPOINT=url) as sending,
    ):
        for service in (plain, sending):
            service.warm(digest)
            _microseconds(service, body)
        pairs = [
            (_microseconds(sending, body), _microseconds(plain, body))
            for _ in range(max(3, bench.runs // 2))
        ]
    with_spans, without = (median(each) for each in zip(*pairs, strict=True))
    bench.table.rows.append(
        Row(
            "processor time of a typical call, with spans (its own and six of host calls) sent",
            f"{with_spans:.0f} µs",
            f"{without:.0f} µs",
            "no collector",
            median(mine / theirs for mine, theirs in pairs),
        )
    )


def _microseconds(service: Service, body: bytes) -> float:
    workers = service.workers()
    before = processor_seconds(workers)
    seen = load(
        service.url + EXECUTE,
        connections=CONNECTIONS,
        seconds=SECONDS,
        body=body,
        headers=HEADERS,
        good=ANSWERED,
    )
    if not seen.good:
        raise Unmeasured(f"no call was answered: {seen}")
    return (processor_seconds(workers) - before) / seen.good * 1e6


@contextmanager
def _collector() -> Iterator[str]:
    """The URL of one that takes all spans and looks at none."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
