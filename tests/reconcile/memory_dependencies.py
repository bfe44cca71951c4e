"""What the use cases depend on, in memory: a spec that a test edits, and a saved state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from algaenv.app import Application
from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest, Ui
from algaenv.dependencies import Dependencies, Request, SavedState
from algaenv.model.event import Event
from algaenv.model.intent import BuildIntent, ExtensionIntent, Intent
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
from algaenv.model.plan import Kept
from algaenv.model.probe import BrokenHandler, PrewarmRequest, Probe, ProbeResult, Yes
from algaenv.model.problem import Problem, Where
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.reconcile.protocols import (
    ContentHost,
    OnProgress,
    Prober,
    Runtime,
    ServiceProgram,
    SnapshotHost,
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


class MemoryDependencies(Dependencies):
    """One environment. `archives` are the contents of its extensions, by name."""

    def __init__(self, root: Path) -> None:
        self.lock = make_lock(root, gateway=GATEWAY)
        self.world = World()
        self.services = MemoryProber()
        self.saved: SavedState | None = None
        self.archives = {"hello": b"first"}
        self.expired = False
        self.unfinished: Problem | None = None
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
        return replace(self.lock.intent, extensions=extensions), ()

    def identify(self, spec: Path, name: str) -> Environment:
        return self.lock.environment

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

    def prober(self) -> Prober:
        return self.services
