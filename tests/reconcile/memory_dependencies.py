"""What the use cases depend on, in memory: a spec that a test edits, and a saved state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from algaenv.app import Application
from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest, Ui
from algaenv.dependencies import Dependencies, Request, SavedState
from algaenv.model.event import Event
from algaenv.model.intent import BuildIntent, ExtensionIntent, Intent, TaskIntent
from algaenv.model.kind import Address
from algaenv.model.lock import (
    Credentials,
    Environment,
    LifetimeChange,
    Lock,
    LockedExtension,
    OrphanedState,
    Ports,
    SeedFiles,
)
from algaenv.model.pins import Pins
from algaenv.model.plan import Kept
from algaenv.model.probe import BrokenHandler, PrewarmRequest, Probe, ProbeResult, Yes
from algaenv.model.problem import EngineGone, Failed, Problem, Where
from algaenv.model.resource import Absent, Present, Resource, spec_as
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.model.task import SeenTask, TaskRun
from algaenv.reconcile.protocols import (
    ContentHost,
    OnProgress,
    Prober,
    Runtime,
    ServiceProgram,
    SnapshotHost,
    TaskHost,
)
from tests.reconcile.memory_runtime import MemoryContent, MemoryRuntime, World
from tests.runtimes.locks import GATEWAY, make_lock


class MemoryProber:
    """Everything answers; handlers as `handler` says."""

    handler: ProbeResult | BrokenHandler = Yes()

    def probe(self, probe: Probe) -> ProbeResult:
        return Yes()

    def prewarm(self, request: PrewarmRequest) -> ProbeResult | BrokenHandler:
        return self.handler


class MemoryTasks:
    """Tasks that end well, unless their command is `false`."""

    def __init__(self, memory: MemoryDependencies) -> None:
        self._memory = memory

    def observe(self, tasks: Sequence[TaskIntent]) -> Mapping[str, SeenTask]:
        memory = self._memory
        return {
            it.name: SeenTask(
                memory.task_files.get(it.name, {}), memory.ran.get(it.name) or Absent()
            )
            for it in tasks
        }

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        self._memory.world.calls.append(f"run {resource.address}")
        task = spec_as(resource, TaskRun).task
        if task.command == ("false",):
            raise Failed(Problem("task-failed", "cannot run it", where=task.where))
        on_progress("done")
        self._memory.ran[task.name] = Present(resource.fingerprint, resource.inputs)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        raise NotImplementedError

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        raise NotImplementedError


class MemoryDependencies(Dependencies):
    """One environment. `archives` are the contents of its extensions, by name."""

    def __init__(self, root: Path) -> None:
        self.lock = make_lock(root, gateway=GATEWAY)
        self.world = World()
        self.services = MemoryProber()
        self.saved: SavedState | None = None
        self.archives = {"hello": b"first"}
        self.inactive: frozenset[str] = frozenset()
        """Names of extensions whose profile is not asked for."""
        self.tasks: tuple[TaskIntent, ...] = ()
        self.ran: dict[str, Present] = {}
        """Name of a task → the record of its last run."""
        self.task_files: dict[str, dict[str, str]] = {}
        self.expired = False
        self.unfinished: Problem | None = None
        self.pins: Pins | None = None
        self.packages = {"wasmtime": "50.0.1"}
        self.build: BuildIntent | None = None
        self.before_packing: Callable[[], object] = lambda: None
        self.events: list[Event] = []
        self.request = Request(self.lock.environment.spec, {})
        self.application = Application(self)

    def load_spec(self, request: Request) -> tuple[Intent, Sequence[Problem]]:
        where = Where("algaenv.yaml", 1, 1)
        extensions = tuple(
            ExtensionIntent(name, "/source", self.build, {}, {}, None, True, None, where)
            for name in self.archives
        )
        active = tuple(it for it in extensions if it.name not in self.inactive)
        inactive = tuple(it for it in extensions if it.name in self.inactive)
        found = replace(self.lock.intent, extensions=active, inactive=inactive)
        return replace(found, tasks=self.tasks), ()

    def identify(self, spec: Path, name: str) -> Environment:
        return self.lock.environment

    @property
    def platform(self) -> str:
        return "linux/test"

    def read_pins(self, spec: Path) -> Pins | None:
        return self.pins

    def write_pins(self, spec: Path, pins: Pins) -> None:
        self.pins = pins

    def own_pins(self, environment: Environment, intent: Intent, *, programs: bool) -> Pins:
        built = {it.name: {"node": "v22"} for it in intent.extensions if it.build is not None}
        return Pins("0.1.0", "sha256:t", (), self.packages if programs else {}, built)

    def runtime(self, name: str) -> Runtime:
        if name != "process":
            raise EngineGone(Problem("engine-unreachable", "no engine", "start it"))
        return MemoryRuntime(self.world)

    def lock_environment(
        self,
        environment: Environment,
        command: str,
        *,
        wait: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def renew_lifetime(self, environment: Environment, change: LifetimeChange | None) -> None: ...

    def is_expired(self, environment: Environment) -> bool:
        return self.expired

    def forget_lifetime(self, environment: Environment) -> None: ...

    def load_state(self, environment: Environment) -> SavedState | None:
        return self.saved

    def save_state(self, environment: Environment, saved: SavedState) -> None:
        self.saved = saved

    def remove_leftovers(self, environment: Environment, *, data: bool) -> None: ...

    def orphaned_states(self, environment: Environment) -> Sequence[OrphanedState]:
        return ()

    def delete_copy(self, orphan: OrphanedState) -> None: ...

    def delete_state(self, environment: Environment) -> Sequence[Kept]:
        self.saved = None
        return ()

    def credentials(self, environment: Environment, intent: Intent) -> Credentials:
        return self.lock.credentials

    def existing_credentials(self, environment: Environment, intent: Intent) -> Credentials | None:
        return self.lock.credentials if self.saved else None

    def ports(self, environment: Environment, intent: Intent) -> Ports:
        return self.lock.ports

    def bundle_builder(
        self, environment: Environment, cancelled: Callable[[], bool]
    ) -> MemoryDependencies:
        return self

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        self.before_packing()
        digest = Digest.of(self.archives[intent.name])
        manifest = Manifest(intent.name, "Example", "1.0.0", "wasm-js@1", ui=Ui("ui/index.html"))
        return LockedExtension(intent, manifest, digest, 1, Path("/archive"), "ab" * 32), ()

    def registry_id(self, intent: ExtensionIntent) -> str | None:
        return None

    def seed_files(self, intent: Intent) -> SeedFiles:
        return SeedFiles()

    def choose_runtime(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        saved: SavedState | None,
    ) -> tuple[Runtime, str]:
        return MemoryRuntime(self.world), "it is the only one"

    def runtime_move_warning(
        self, environment: Environment, before: str, runtime: str
    ) -> Problem | None:
        return None

    def runtimes_present(
        self, environment: Environment, saved: SavedState | None, *, data: bool
    ) -> Sequence[Runtime]:
        return [MemoryRuntime(self.world)]

    def content_host(self, lock: Lock, *, writes: bool = False) -> ContentHost:
        return MemoryContent(self.world)

    def snapshots(self, environment: Environment) -> Sequence[StoredSnapshot]:
        return ()

    def snapshot_host(
        self, lock: Lock, runtime: str, run_beside: Callable[[Sequence[str]], ServiceProgram]
    ) -> SnapshotHost:
        raise NotImplementedError

    def require_snapshot(self, environment: Environment, name: str) -> None: ...

    def delete_snapshot(self, environment: Environment, name: str) -> StoredSnapshot:
        raise NotImplementedError

    def unfinished_restore(self, environment: Environment) -> Problem | None:
        return self.unfinished

    def task_host(self, request: Request, lock: Lock) -> TaskHost:
        return MemoryTasks(self)

    def prober(self) -> Prober:
        return self.services
