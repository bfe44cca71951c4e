"""Prometheus metrics of a worker, and `GET /metrics`.

The Prometheus library takes 50 ms to import. It is imported a moment after the service has begun
to serve; what happens before is queued and counted then. Counting costs a microsecond or two a
series.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from starlette.requests import Request
from starlette.responses import Response

from algaenv import __version__
from algaenv.runner.execute.invocation import Stream, Timings
from algaenv.runner.http import text_response
from algaenv.runner.locks import import_lock
from algaenv.runner.wasm.failure import FailureKind

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


CompileLabel = Literal["done", "failed"]
BundleLabel = Literal["hit", "fetched", "failed"]

_ROUTES = frozenset(("/", "/healthz", "/readyz", "/metrics", "/v1/execute", "/warmup"))


class OutcomeLabel(StrEnum):
    """How a call ended, when no guest failed (that is a `FailureKind`)."""

    ANSWERED = "answered"
    """The guest did, with any status."""
    REPLAYED = "replayed"
    BAD_REQUEST = "bad-request"
    BUNDLE = "bundle"
    """It could not be fetched or read."""
    CAPABILITY = "capability"
    SECRETS = "secrets"
    ENGINE = "engine"
    BUSY = "busy"
    """The queue was full."""
    LEFT = "left"
    """The caller did not wait for the response."""


class GaugeName(StrEnum):
    """A gauge: a current value, not a count of events."""

    THREADS_BUSY = "threads-busy"
    THREADS_STUCK = "threads-stuck"
    CALLS_QUEUED = "calls-queued"
    COMPILES_RUNNING = "compiles-running"
    COMPONENTS_LOADED = "components-loaded"


def route(path: str) -> str:
    """The route that a path belongs to: one of eight."""
    if path in _ROUTES:
        return path
    return "/ext-ui" if path.startswith("/ext-ui/") else "other"


PREFIX = "algaenv_runner"

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_STAGES = ("queued", "load", "instantiate", "run", "waiting")


class MetricSeries:
    """All series of this process, in files of the directory that carry the worker's number.

    One object a process: the library has one global for where values are kept.
    """

    def __init__(self, directory: Path, *, worker: int, contract: str) -> None:
        """Raises OSError."""
        from prometheus_client import CollectorRegistry, Gauge, values

        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self._requests = _counter(registry, "requests", "Requests answered.", "route", "status")
        self._request_counts: dict[tuple[str, int], Callable[[], None]] = {}
        self._calls = _counter(
            registry, "calls", "Calls of handlers, by how they ended.", "outcome"
        )
        self._call_counts: dict[str, Callable[[], None]] = {}
        self._compiles = _counter(registry, "compiles", "Components compiled.", "outcome")
        self._compile_seconds = _histogram(registry, "compile_seconds", "How long that took.")
        self.replays = _counter(registry, "replays", "Calls answered with a kept answer.")
        self.dropped = _counter(
            registry, "debug_events_dropped", "Events that the debug stream did not get."
        )
        self.spans_dropped = _counter(
            registry, "spans_dropped", "Spans that the OpenTelemetry collector did not get."
        )
        seconds = _histogram(
            registry,
            "call_seconds",
            "What calls spent their time on; waiting, a part of run, is for other machines.",
            "stage",
        )
        self._total = seconds.labels("total")
        self._stages = [(stage, seconds.labels(stage).observe) for stage in _STAGES]
        bundles = _counter(registry, "bundles", "Bundles asked of the cache.", "result")
        self.bundles = {result: bundles.labels(result) for result in get_args(BundleLabel)}
        lines = _counter(registry, "guest_lines", "Lines that guests said.", "stream")
        self.lines = {stream: lines.labels(stream) for stream in get_args(Stream)}
        threads = _gauge(registry, "lanes", "Threads for guests, by what they do.", "state")
        self.gauges = {
            GaugeName.THREADS_BUSY: threads.labels("busy"),
            GaugeName.THREADS_STUCK: threads.labels("stuck"),
            GaugeName.CALLS_QUEUED: _gauge(
                registry, "calls_queued", "Calls that wait for a thread."
            ),
            GaugeName.COMPILES_RUNNING: _gauge(registry, "compiles_running", "Compiles under way."),
            GaugeName.COMPONENTS_LOADED: _gauge(
                registry, "components_loaded", "Components in memory, of all workers together."
            ),
        }
        Gauge(
            f"{PREFIX}_build_info",
            "The versions of what runs.",
            ("version", "wasmtime", "contract"),
            registry=registry,
            multiprocess_mode="livemax",
        ).labels(__version__, _wasmtime(), contract).set(1)

    def request(self, route: str, status: int) -> None:
        """Count a request; a status comes from the service itself, so there are few."""
        count = self._request_counts.get((route, status))
        if count is None:
            count = self._requests.labels(route, str(status)).inc
            self._request_counts[route, status] = count
        count()

    def call(self, outcome: str, timings: Timings, seconds: float) -> None:
        """Count a call, and each part of it that took any time."""
        count = self._call_counts.get(outcome)
        if count is None:
            count = self._call_counts[outcome] = self._calls.labels(outcome).inc
        count()
        self._total.observe(seconds)
        for stage, observe in self._stages:
            if took := getattr(timings, stage):
                observe(took)

    def compile(self, outcome: str, seconds: float) -> None:
        """Count a component that was compiled, or was not."""
        self._compiles.labels(outcome).inc()
        self._compile_seconds.observe(seconds)


def expose(directory: Path, accept: str) -> tuple[bytes, str]:
    """The metrics of all workers as text and its content type, as an Accept header asks for it."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _wasmtime() -> str:
    try:
        return version("wasmtime")
    except PackageNotFoundError:
        return "none"


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    from prometheus_client import Counter

    return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    from prometheus_client import Gauge

    return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry, multiprocess_mode="livesum")


def _histogram(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    from prometheus_client import Histogram

    return Histogram(f"{PREFIX}_{name}", text, labels, registry=registry, buckets=_SECONDS)


_SETTLING_SECONDS = 1.0
_SAMPLE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Metrics:
    """The metrics of one worker process; at most one object a process.

    `worker` is a number that no other living worker of the service has, and that the one started
    in its place gets again. Without a directory nothing is counted.
    `contract` is the version of the behaviour that the runner follows.
    What counts may be called from any thread, and never raises.
    """

    def __init__(self, directory: Path | None, *, worker: int, contract: str) -> None:
        self._directory = directory
        self._worker = worker
        self._contract = contract
        self._series: MetricSeries | None = None
        self._pending: list[Callable[[MetricSeries], None]] = []
        self._lock = threading.Lock()
        self._disabled = directory is None
        self._loading: asyncio.Task[None] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._readers: dict[GaugeName, Callable[[], float]] = {}

    def start(self) -> None:
        """Load the library soon, and look at what is watched every second from then on."""
        self._sampling = asyncio.create_task(self._sample_forever())

    async def aclose(self) -> None:
        """Stop looking."""
        if self._sampling is not None:
            self._sampling.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampling

    def set_gauges(self, readers: Mapping[GaugeName, Callable[[], float]]) -> None:
        """Read these every second, on the event loop, and for every response of this worker."""
        self._readers.update(readers)

    def request(self, path: str, status: int) -> None:
        """A request was answered."""
        if (series := self._series) is None:
            self._queue_or_count(lambda series: series.request(route(path), status))
        else:
            series.request(route(path), status)

    def executed(
        self, outcome: OutcomeLabel | FailureKind, timings: Timings, seconds: float
    ) -> None:
        """A call of a handler has ended after so long. Parts that took no time do not count."""
        if (series := self._series) is None:
            self._queue_or_count(lambda series: series.call(outcome.value, timings, seconds))
        else:
            series.call(outcome.value, timings, seconds)

    def compiled(self, outcome: CompileLabel, seconds: float) -> None:
        """A component was compiled, or could not be."""
        self._count(lambda series: series.compile(outcome, seconds))

    def bundle(self, result: BundleLabel) -> None:
        """A bundle was asked of the cache, for a page or a call."""
        if (series := self._series) is None:
            self._queue_or_count(lambda series: series.bundles[result].inc())
        else:
            series.bundles[result].inc()

    def replayed(self) -> None:
        """A call was answered with what an earlier one with its idempotency key got."""
        self._count(lambda series: series.replays.inc())

    def guest_line(self, stream: Stream) -> None:
        """A guest wrote a line."""
        if (series := self._series) is None:
            self._queue_or_count(lambda series: series.lines[stream].inc())
        else:
            series.lines[stream].inc()

    def events_dropped(self, number: int) -> None:
        """So many events will not be in the debug stream."""
        self._count(lambda series: series.dropped.inc(number))

    def spans_dropped(self, number: int) -> None:
        """So many spans will not be sent."""
        self._count(lambda series: series.spans_dropped.inc(number))

    async def handle(self, request: Request) -> Response:
        """Answer `GET /metrics`: the figures of all workers, in the format the client asks for."""
        await self._load()
        if self._series is None or self._directory is None:
            return text_response(503, "metrics are not available")
        self._sample(self._series)

        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(expose, self._directory, accept)
        headers = {"cache-control": "no-store", "content-type": content_type}
        return Response(content, headers=headers)

    def _count(self, count: Callable[[MetricSeries], None]) -> None:
        if (series := self._series) is None:
            self._queue_or_count(count)
        else:
            count(series)

    def _queue_or_count(self, count: Callable[[MetricSeries], None]) -> None:
        with self._lock:
            if (series := self._series) is None:
                if not self._disabled:
                    self._pending.append(count)
                return
        count(series)

    async def _sample_forever(self) -> None:
        await asyncio.sleep(_SETTLING_SECONDS)
        await self._load()
        while self._series is not None:
            self._sample(self._series)
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _sample(self, series: MetricSeries) -> None:
        for gauge, read in self._readers.items():
            series.gauges[gauge].set(read())

    async def _load(self) -> None:
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load_now))
        await asyncio.shield(self._loading)

    def _load_now(self) -> None:
        if self._directory is None:
            return
        try:
            with import_lock():
                import prometheus_client.exposition
                import prometheus_client.multiprocess  # noqa: F401 - imported here, used later

            series = MetricSeries(self._directory, worker=self._worker, contract=self._contract)
        except (ImportError, OSError) as error:
            _log.warning("no metrics", extra={"fields": {"why": str(error)}})
            with self._lock:
                self._disabled = True
                self._pending.clear()
            return
        with self._lock:
            self._series = series
            pending, self._pending = self._pending, []
        for count in pending:
            count(series)
