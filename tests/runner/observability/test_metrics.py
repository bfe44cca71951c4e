"""Figures of several real worker processes, read as Prometheus reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_open,
)
from prometheus_client.parser import text_string_to_metric_families as read_plain

import algaenv
from algaenv.runner.observability.metrics import GaugeName, OutcomeLabel
from algaenv.runner.serve import MultiprocessDir
from algaenv.runner.wasm.failure import FailureKind

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Worker:
    def __init__(self, metrics_dir: Path, number: int, **env: str) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.runner.observability.metrics_worker",
                str(metrics_dir),
                str(number),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )

    def tell(self, *command: object) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{json.dumps(command)}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def figures(self) -> Figures:
        status, kind, text = self.tell("expose", "")
        assert status == 200
        assert kind.startswith("text/plain; version=")
        return {
            (sample.name.removeprefix("algaenv_runner_"), frozenset(sample.labels.items())): (
                sample.value
            )
            for family in read_plain(text)
            for sample in family.samples
        }

    def kill(self) -> None:
        with self.process:
            self.process.kill()


def of(figures: Figures, name: str, **labels: str) -> float | None:
    return figures.get((name, frozenset(labels.items())))


@pytest.fixture
def metrics_dir(tmp_path: Path) -> Iterator[MultiprocessDir]:
    made = MultiprocessDir.make(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start(metrics_dir: MultiprocessDir) -> Iterator[Callable[..., Worker]]:
    with ExitStack() as stack:

        def begin(number: int, **env: str) -> Worker:
            worker = Worker(metrics_dir.path, number, **env)
            stack.callback(worker.kill)
            return worker

        yield begin


Start = Callable[..., Worker]


def test_two_workers_make_one_sum(start: Start) -> None:
    one, two = start(0), start(1)
    for number, worker in enumerate((one, two), 1):
        for _ in range(number):
            worker.tell("request", "/ext-ui/a/b/c.js", 200)
            worker.tell("request", "/v1/execute", 413)
            worker.tell("executed", OutcomeLabel.ANSWERED, {"queued": 0.2, "run": 0.02}, 0.3)
            worker.tell("executed", FailureKind.TIMEOUT, {"run": 20}, 20)
            worker.tell("executed", OutcomeLabel.BUSY, {}, 0)
            worker.tell("compiled", "done", 6.0)
            worker.tell("compiled", "failed", 0)
            worker.tell("bundle", "hit")
            worker.tell("replayed")
            worker.tell("guest_line", "stderr")
            worker.tell("events_dropped", 5)
            worker.tell("now", GaugeName.THREADS_BUSY, number)
    seen = one.figures()
    # The other looks at what it watches once a second.
    until = time.monotonic() + 20
    while of(seen, "lanes", state="busy") != 3:
        assert time.monotonic() < until, seen
        time.sleep(0.05)
        seen = one.figures()
    assert of(seen, "requests_total", route="/ext-ui", status="200") == 3
    assert of(seen, "requests_total", route="/v1/execute", status="413") == 3
    assert of(seen, "calls_total", outcome="answered") == 3
    assert of(seen, "calls_total", outcome="timeout") == 3
    assert of(seen, "calls_total", outcome="busy") == 3
    assert of(seen, "call_seconds_count", stage="total") == 9
    assert of(seen, "call_seconds_sum", stage="total") == pytest.approx(60.9)
    assert of(seen, "call_seconds_bucket", stage="queued", le="0.25") == 3
    assert of(seen, "call_seconds_bucket", stage="queued", le="0.1") == 0
    assert of(seen, "call_seconds_count", stage="waiting") == 0
    assert of(seen, "compiles_total", outcome="done") == 3
    assert of(seen, "compiles_total", outcome="failed") == 3
    assert of(seen, "compile_seconds_sum") == 18
    assert of(seen, "bundles_total", result="hit") == 3
    assert of(seen, "bundles_total", result="failed") == 0
    assert of(seen, "replays_total") == 3
    assert of(seen, "guest_lines_total", stream="stderr") == 3
    assert of(seen, "debug_events_dropped_total") == 15
    assert of(seen, "components_loaded") == 0
    (build,) = [dict(labels) for name, labels in seen if name == "build_info"]
    assert build["version"] == algaenv.__version__
    assert build["contract"] == "7"
    assert build["wasmtime"]


def test_what_a_dead_worker_counted_stays(start: Start, metrics_dir: MultiprocessDir) -> None:
    one, two = start(0), start(1)
    for worker in (one, two):
        worker.tell("replayed")
        worker.tell("now", GaugeName.COMPONENTS_LOADED, 4)
        worker.figures()
    assert of(one.figures(), "components_loaded") == 8
    two.kill()
    metrics_dir.worker_exited(1)
    seen = one.figures()
    assert of(seen, "replays_total") == 2
    assert of(seen, "components_loaded") == 4

    again = start(1)
    files = sorted(path.name for path in metrics_dir.path.iterdir())
    again.tell("replayed")
    again.tell("now", GaugeName.COMPONENTS_LOADED, 1)
    seen = again.figures()
    assert of(seen, "replays_total") == 3
    assert of(seen, "components_loaded") == 5
    # The one in its place counts on in the same files.
    counted = [name for name in files if not name.startswith("gauge")]
    now = sorted(path.name for path in metrics_dir.path.iterdir())
    assert counted == [name for name in now if not name.startswith("gauge")]


def test_paths_make_no_series(start: Start) -> None:
    worker = start(0)
    for number in range(50):
        for path in (f"/ext-ui/{number}/x", f"/{number}", f"/healthz/{number}", "/", "/metrics"):
            worker.tell("request", path, 404)
    routes = [
        dict(labels)["route"] for name, labels in worker.figures() if name == "requests_total"
    ]
    assert sorted(routes) == ["/", "/ext-ui", "/metrics", "other"]


def test_open_metrics_for_who_asks(start: Start) -> None:
    worker = start(0)
    worker.tell("replayed")
    accept = "application/openmetrics-text; version=1.0.0; q=0.8, text/plain; q=0.5"
    status, kind, text = worker.tell("expose", accept)
    assert status == 200
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in read_open(text)}  # type: ignore[no-untyped-call]
    assert families["algaenv_runner_replays"].samples[0].value == 1
    assert families["algaenv_runner_call_seconds"].type == "histogram"
    assert text.endswith("# EOF\n")


def test_the_library_is_loaded_later(start: Start) -> None:
    worker = start(0)
    assert worker.tell("modules", "prometheus_client") == []
    worker.tell("replayed")
    worker.tell("executed", FailureKind.TRAP, {}, 0.1)
    worker.tell("guest_line", "log")
    until = time.monotonic() + 20
    while not worker.tell("modules", "prometheus_client.multiprocess"):
        assert time.monotonic() < until, "it was never loaded"
        time.sleep(0.02)
    seen = worker.figures()
    assert of(seen, "replays_total") == 1
    assert of(seen, "calls_total", outcome="trap") == 1
    assert of(seen, "guest_lines_total", stream="log") == 1


def test_nothing_secret_is_shown(start: Start, metrics_dir: MultiprocessDir) -> None:
    worker = start(0, ALGA_AUTH_KEY="very-secret", RUNNER_DEBUG_REDIS_PASSWORD="very-secret")
    worker.tell("request", "/ext-ui/very-secret/x?key=very-secret", 200)
    text = worker.tell("expose", "")[2]
    assert "very-secret" not in text
    assert str(metrics_dir.path) not in text
    assert str(worker.process.pid) not in {
        label
        for family in read_plain(text)
        for one in family.samples
        for label in one.labels.values()
    }


def test_without_a_directory(tmp_path: Path, start: Start, metrics_dir: MultiprocessDir) -> None:
    metrics_dir.path.rename(tmp_path / "gone")
    worker = start(0)
    worker.tell("replayed")
    status, _, text = worker.tell("expose", "")
    assert (status, text) == (503, "metrics are not available")
    worker.tell("replayed")
    worker.tell("request", "/", 200)
