"""The series that a worker writes: their names, labels and buckets.

Imports the Prometheus library, which takes 50 ms: only to be imported once the service is up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from algaenv import __version__
from algaenv.runner.invocation import Spent, Stream
from algaenv.runner.metrics.labels import Bundled, Watched

PREFIX = "algaenv_runner"

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_STAGES = ("queued", "load", "instantiate", "run", "waiting")


class Series:
    """All series of this process, in files of the ledger that carry the worker's number.

    One object a process: the library has one place that says where values are kept.
    """

    def __init__(self, ledger: Path, *, worker: int, contract: str) -> None:
        """Raises OSError."""
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(ledger)
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
        seconds = _histogram(
            registry,
            "call_seconds",
            "What calls spent their time on; waiting, a part of run, is for other machines.",
            "stage",
        )
        self._total = seconds.labels("total")
        self._stages = [(stage, seconds.labels(stage).observe) for stage in _STAGES]
        bundles = _counter(registry, "bundles", "Bundles asked of the cache.", "result")
        self.bundles = {result: bundles.labels(result) for result in get_args(Bundled)}
        lines = _counter(registry, "guest_lines", "Lines that guests said.", "stream")
        self.lines = {stream: lines.labels(stream) for stream in get_args(Stream)}
        lanes = _gauge(registry, "lanes", "Threads for guests, by what they do.", "state")
        self.now = {
            Watched.LANES_BUSY: lanes.labels("busy"),
            Watched.LANES_STUCK: lanes.labels("stuck"),
            Watched.CALLS_QUEUED: _gauge(registry, "calls_queued", "Calls that wait for a lane."),
            Watched.COMPILES_RUNNING: _gauge(registry, "compiles_running", "Compiles under way."),
            Watched.COMPONENTS_LOADED: _gauge(
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

    def call(self, outcome: str, spent: Spent, seconds: float) -> None:
        """Count a call, and each part of it that took any time."""
        count = self._call_counts.get(outcome)
        if count is None:
            count = self._call_counts[outcome] = self._calls.labels(outcome).inc
        count()
        self._total.observe(seconds)
        for stage, observe in self._stages:
            if took := getattr(spent, stage):
                observe(took)

    def compile(self, outcome: str, seconds: float) -> None:
        """Count a component that was compiled, or was not."""
        self._compiles.labels(outcome).inc()
        self._compile_seconds.observe(seconds)


def expose(ledger: Path, accept: str) -> tuple[bytes, str]:
    """The figures of all workers as text and its content type, as an Accept header asks for it."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(ledger))  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _wasmtime() -> str:
    try:
        return version("wasmtime")
    except PackageNotFoundError:
        return "none"


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry, multiprocess_mode="livesum")


def _histogram(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    return Histogram(f"{PREFIX}_{name}", text, labels, registry=registry, buckets=_SECONDS)
