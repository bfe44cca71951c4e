"""A fake application: real plans, executed by the real executor with drivers that do nothing.

Its events and their order are thus those of a real run, and so are skipped and cancelled steps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest
from algaenv.bundle.value import replace as value_replace
from algaenv.dependencies import LockResult, Request
from algaenv.model.drift import DriftReport
from algaenv.model.event import (
    Done,
    Emit,
    Event,
    Planned,
    Report,
    Reported,
    Resolved,
    Resolving,
    RuntimeChosen,
    StepProgress,
    Warned,
)
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.log import LogEntry, LogQuery
from algaenv.model.pins import PinDifference, Pins, ServicePin, changes
from algaenv.model.plan import Blocked, Plan
from algaenv.model.probe import BrokenHandler, NotYet, PrewarmRequest, Probe, ProbeResult, Yes
from algaenv.model.problem import AlgaenvError, Failed, Problem
from algaenv.model.resource import Observation, Present, Resource
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import SecretMask
from algaenv.model.status import (
    ExtensionEndpoint,
    ExtensionStatus,
    GatewayAddress,
    ServiceStatus,
    Status,
)
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.plan.diff import decide_all, decide_destroy
from algaenv.plan.order import build_plan
from algaenv.plan.saved import SavedPlan, saved_plan
from algaenv.reconcile.executor import Executor
from algaenv.reconcile.protocols import Lowered, OnProgress, ResourceDriver, ServiceProgram
from algaenv.reconcile.rollback import KeptVersion
from tests.plan.builders import make_present, make_resource, parse_address
from tests.runtimes.locks import make_lock

DIGEST = "sha256:1a2b3c4d5e6f" + "0" * 52
VERSIONS = tuple(
    KeptVersion(
        Manifest("hello", "example", version, "ui-only@1"),
        Digest(digit * 64),
        5120,
        f"2026-11-30T19:0{9 - index}:00.000000Z",
        index == 0,
        Path(f"/nowhere/{digit}"),
        None,
    )
    for index, (version, digit) in enumerate((("0.2.0", "c"), ("0.1.0", "b"), ("0.1.0", "a")))
)
SNAPSHOTS = (
    StoredSnapshot("later", "2026-11-30T19:08:00Z", "docker", 18, 3 << 20, 1, 900),
    StoredSnapshot("before", "2026-11-29T19:08:00Z", "process", 18, 2048, 12, 1 << 31),
)
RESOURCES: tuple[Resource, ...] = (
    make_resource("network/main"),
    make_resource("volume/store", retained=True),
    make_resource("volume/database", retained=True),
    make_resource("container/store", "network/main", "volume/store", probed=True),
    make_resource("container/redis", "network/main", probed=True),
    make_resource("container/database", "network/main", "volume/database", probed=True),
    make_resource("container/runner", "container/store", "container/redis", probed=True),
    make_resource("bucket/extensions", "container/store"),
    make_resource("schema/main", "container/database"),
    make_resource("tenant/main", "schema/main"),
    make_resource("bundle/hello@1a2b3c4d5e6f", "bucket/extensions"),
    make_resource("release/hello", "bundle/hello@1a2b3c4d5e6f", "tenant/main", "container/runner"),
)
EXIT_LOG = ("listening on 127.0.0.1:9000", "panic: disk full")
BROKEN = Problem(
    code="service-ended",
    summary="cannot bring up container/store: it ended while starting",
    hint="its last lines are above; `algaenv up` tries again",
    detail=EXIT_LOG,
)
WARNING = Problem(
    code="capability-unknown",
    summary="cannot tell what the capability `cap:teleport` grants",
    hint="take it out of the manifest",
)

PINS = Pins(
    "0.1.0",
    "sha256:1234",
    (
        ServicePin(
            *("docker", "linux/amd64", "store", "silo", "silo", "9", "pulled"),
            *("sha256:" + "a" * 64, ("docker.io/pgsty/silo",), "9"),
        ),
    ),
    {"wasmtime": "50.0.1"},
    {"hello": {"node": "v22.1.0"}},
)
LOG = (
    LogEntry(1796065041.2, "store", "line", "API: http://127.0.0.1:9000"),
    LogEntry(1796065041.3, "store", "line", ""),
    LogEntry(1796065042.0, "database", "line", "[7] ERROR:  no \x1b[31mtable\x07", "error"),
    LogEntry(
        1796065043.0, "runner", "guest", "two\nlines", "info", "hello", "3249b16b-4a0e", "stderr"
    ),
    LogEntry(
        *(1796065043.5, "gateway", "request", "request", "info", "hello", "3249b16b-4a0e", ""),
        {"method": "GET", "path": "/x", "status": 200, "ms": 1.5, "user": "msp"},
    ),
    LogEntry(1796151443.0, "runner", "gap", "the service could not write 3 lines"),
)
"""A log with one line of each kind."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens in a run. `gate` is a file that `stuck` steps wait for."""

    pace: float = 0.0
    broken: Mapping[str, Problem] = field(default_factory=dict)
    stuck: frozenset[str] = frozenset()
    gate: Path | None = None
    seen: Mapping[Address, Observation] = field(default_factory=dict)
    slow_answers: int = 0
    raises: AlgaenvError | None = None
    bug: Exception | None = None
    warns: bool = False
    builds: bool = False
    blocked: tuple[Blocked, ...] = ()
    drift: DriftReport = field(default_factory=lambda: DriftReport((), {}))
    pins: tuple[PinDifference, ...] = ()


class FakeApplication:
    """Implements UseCases."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def up(self, request: Request, emit: Emit) -> Report:
        emit = _serialized(emit)
        self._raise_bug()
        if (error := self._scenario.raises) is not None:
            report = Report("up", problems=error.problems, error=type(error).__name__)
            emit(Reported(report))
            return report
        self._emit_start(emit)
        plan = self._plan()
        emit(Planned(plan.steps))
        ended = self._executor(request, emit).execute(plan)
        report = Report("up", ended, kept=plan.kept, interrupted=request.cancelled())
        if all(isinstance(it.outcome, Done) for it in ended):
            report = replace(report, status=status(request.spec))
        emit(Reported(report))
        return report

    def plan(self, request: Request, emit: Emit) -> Plan:
        self._raise_error()
        self._emit_start(emit)
        plan = replace(self._plan(), blocked=self._scenario.blocked)
        emit(Planned(plan.steps))
        return plan

    def write_lock(self, request: Request, update: Sequence[str] | None) -> LockResult:
        self._raise_error()
        return LockResult(request.spec.with_suffix(".lock"), PINS, changes(None, PINS), {})

    def check_lock(self, request: Request) -> Sequence[PinDifference]:
        self._raise_error()
        return self._scenario.pins

    def settings_of(self, request: Request) -> tuple[Lowered, str]:
        self._raise_error()
        return Lowered(RESOURCES, {}), "docker"

    def plan_to_save(self, request: Request, emit: Emit) -> tuple[Plan, SavedPlan]:
        plan = self.plan(request, emit)
        lock = make_lock(request.spec.parent)
        return plan, saved_plan(plan, {}, lock, "process", request.plan_options())

    def drift(self, request: Request, emit: Emit) -> DriftReport:
        self._raise_error()
        if self._scenario.warns:
            emit(Warned(WARNING))
        return self._scenario.drift

    def status(self, request: Request, emit: Emit) -> Status:
        self._raise_error()
        if self._scenario.warns:
            emit(Warned(WARNING))
        return status(request.spec)

    def down(self, request: Request, emit: Emit, *, volumes: bool) -> Report:
        emit = _serialized(emit)
        self._raise_bug()
        emit(RuntimeChosen("docker", "it holds this environment"))
        seen = {r.address: _present(r) for r in RESOURCES if r.address.kind in _SUBSTRATE_KINDS}
        plan = build_plan(decide_destroy(seen, data_goes=volumes))
        emit(Planned(plan.steps))
        ended = self._executor(request, emit).execute(plan)
        report = Report("down", ended, kept=plan.kept, interrupted=request.cancelled())
        emit(Reported(report))
        return report

    def endpoint_of(self, request: Request, extension: str) -> ExtensionEndpoint:
        self._raise_error()
        return ExtensionEndpoint(
            request.environ.get("GATEWAY", ""),
            f"id-of-{extension}",
            seconds=float(request.environ.get("GATEWAY_SECONDS", "60")),
            declared=(("GET", "/status"), ("GET", "/notes/:id"), ("POST", "/notes")),
        )

    def versions_of(self, request: Request, extension: str) -> Sequence[KeptVersion]:
        self._raise_error()
        return VERSIONS

    def program_in(
        self, request: Request, service: str, words: Sequence[str], *, tty: bool
    ) -> ServiceProgram:
        self._raise_error()
        return ServiceProgram(tuple(words), {"SERVICE": service, "KEY": Secret("hidden")}, ("/x",))

    def run_task(self, request: Request, name: str, emit: Emit) -> Report:
        report = Report("run")
        emit(Reported(report))
        return report

    def restart(self, request: Request, services: Sequence[str], emit: Emit) -> Report:
        report = Report("restart")
        emit(Reported(report))
        return report

    def snapshots(self, request: Request) -> Sequence[StoredSnapshot]:
        self._raise_error()
        return SNAPSHOTS

    def save_snapshot(
        self, request: Request, name: str, on_progress: OnProgress, *, replace: bool
    ) -> StoredSnapshot:
        self._raise_error()
        on_progress("copying the database")
        return value_replace(SNAPSHOTS[0], name=name)

    def restore_snapshot(
        self, request: Request, name: str, on_progress: OnProgress
    ) -> StoredSnapshot:
        return self.save_snapshot(request, name, on_progress, replace=True)

    def delete_snapshot(self, request: Request, name: str) -> StoredSnapshot:
        self._raise_error()
        return value_replace(SNAPSHOTS[0], name=name)

    def gateway_of(self, request: Request) -> GatewayAddress:
        self._raise_error()
        return GatewayAddress(request.environ.get("GATEWAY", ""), {"id-of-hello": "hello"})

    def secret_mask(self, request: Request) -> SecretMask:
        return SecretMask([Secret("hidden-value")])

    def logs(
        self, request: Request, query: LogQuery, stop: Callable[[], bool]
    ) -> Iterator[LogEntry]:
        self._raise_error()
        return self._entries(query)

    @staticmethod
    def _entries(query: LogQuery) -> Iterator[LogEntry]:
        yield from LOG
        if query.follow:
            _until(lambda: False)

    def _plan(self) -> Plan:
        return build_plan(decide_all(RESOURCES, self._scenario.seen))

    def _executor(self, request: Request, emit: Emit) -> Executor:
        drivers: ResourceDriver = _Driver(self._scenario)
        kinds = {resource.address.kind: drivers for resource in RESOURCES}
        prober = _Prober(self._scenario.slow_answers)
        return Executor(lambda: kinds, prober, emit, 30.0, request.cancelled)

    def _emit_start(self, emit: Emit) -> None:
        emit(RuntimeChosen("docker", "auto: Docker engine 28.5 answers"))
        if self._scenario.warns:
            emit(Warned(WARNING))
        if self._scenario.builds:
            emit(Resolving("bundle/hello", "build"))
            emit(StepProgress(parse_address("bundle/hello"), "compiling hello v0.1.0"))
            time.sleep(self._scenario.pace)
            emit(Resolved("bundle/hello", "1a2b3c4d5e6f, 5120 bytes", 1.8))

    def _raise_bug(self) -> None:
        if self._scenario.bug is not None:
            raise self._scenario.bug

    def _raise_error(self) -> None:
        self._raise_bug()
        if self._scenario.raises is not None:
            raise self._scenario.raises


_SUBSTRATE_KINDS = ("network", "volume", "container")


def all_present() -> Mapping[Address, Observation]:
    """What is seen once all of it is there, as wanted."""
    return {resource.address: _present(resource) for resource in RESOURCES}


def status(spec: Path) -> Status:
    """An environment that is up, with one extension."""
    return Status(
        environment=Environment("0123456789", "demo", spec, spec.parent / ".algaenv/0123456789"),
        runtime="docker",
        services=(
            ServiceStatus(
                "store",
                "ready",
                {"api": "http://127.0.0.1:4569", "console": "http://127.0.0.1:4570"},
            ),
            ServiceStatus("redis", "ready", {"url": "redis://127.0.0.1:6380"}),
            ServiceStatus("database", "ready", {"url": "postgresql://alga@127.0.0.1:5436/alga"}),
            ServiceStatus("runner", "running", {"url": "http://127.0.0.1:8085"}, "HTTP 503"),
        ),
        extensions=(
            ExtensionStatus(
                name="hello",
                registry_id="7d444840-9dc0-11d1-b245-5ffdce74fad2",
                install_id="9a1f0c2e-5b1d-5c3a-8f4e-0123456789ab",
                version="0.1.2",
                content_hash=DIGEST,
                page_url="http://127.0.0.1:8085/ext-ui/7d444840/index.html",
                call_url="http://localhost:3000/api/ext/7d444840",
                endpoints=(("GET", "/hello"), ("POST", "/hello/{id}")),
                ready=True,
            ),
        ),
        tenant_id="11111111-2222-5333-8444-555555555555",
        variables={
            "RUNNER_BASE_URL": "http://127.0.0.1:8085",
            "STORAGE_S3_ACCESS_KEY": Secret("AKIAEXAMPLE"),
            "STORAGE_S3_SECRET_KEY": Secret("it's $ecret"),
        },
    )


def _present(resource: Resource) -> Present:
    running = True if resource.address.kind == "container" else None
    return make_present(
        str(resource.address),
        inputs=resource.inputs,
        running=running,
        retained=resource.retained,
    )


def _serialized(emit: Emit) -> Emit:
    lock = threading.Lock()

    def emit_locked(event: Event) -> None:
        with lock:
            emit(event)

    return emit_locked


@dataclass(frozen=True, slots=True)
class _Driver:
    """A driver that sleeps."""

    scenario: Scenario

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        self._work(resource.address, on_progress)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        self._work(resource.address, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        self._work(address, on_progress)

    def _work(self, address: Address, on_progress: OnProgress) -> None:
        on_progress(f"working on {address.name}")
        if str(address) in self.scenario.stuck and self.scenario.gate is not None:
            _until(self.scenario.gate.exists)
        time.sleep(self.scenario.pace)
        if (problem := self.scenario.broken.get(str(address))) is not None:
            raise Failed(problem)


class _Prober:
    """Fails a number of probes, then succeeds."""

    def __init__(self, failures: int) -> None:
        self._failures_left = failures

    def probe(self, probe: Probe) -> ProbeResult:
        if self._failures_left > 0:
            self._failures_left -= 1
            return NotYet("HTTP 503")
        return Yes()

    def prewarm(self, warming: PrewarmRequest) -> ProbeResult | BrokenHandler:
        return Yes()


def _until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the gate was never opened")
        time.sleep(0.01)
