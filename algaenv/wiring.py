"""The composition root: it names the runtimes, the content host, the prober and the builder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import algaenv
from algaenv.app import Application
from algaenv.dependencies import Request, SavedState, UseCases
from algaenv.drivers.state import state_dir
from algaenv.model.intent import Intent, ManagedDatabase
from algaenv.model.kind import Address
from algaenv.model.lock import (
    Credentials,
    Environment,
    LifetimeChange,
    Lock,
    OrphanedState,
    Ports,
    SeedFiles,
)
from algaenv.model.pins import Pins
from algaenv.model.plan import Kept
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Json
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.reconcile.protocols import (
    ContentHost,
    Prober,
    Runtime,
    ServiceProgram,
    SnapshotHost,
    TaskHost,
)
from algaenv.reconcile.resolve import BundleBuilder
from algaenv.runtime_choice import RuntimeChoice

if TYPE_CHECKING:
    from algaenv.drivers.content_host import Clients


def build_application(request: Request) -> UseCases:
    """Build the application for one request.

    Removes the variables of S3 and HTTP clients from the environment of this process.
    """
    from algaenv.drivers.client_environment import remove_store_variables

    remove_store_variables()
    return Application(Container(request.environ, keeps_clients=request.keeps_clients))


class Container(RuntimeChoice):
    """Implements Dependencies with the real runtimes and drivers.

    With `keeps_clients` those of store and database stay open from run to run.
    """

    def __init__(self, environ: Mapping[str, str], *, keeps_clients: bool = False) -> None:
        super().__init__(environ)
        self._keeps_clients = keeps_clients
        self._clients: Clients | None = None

    def load_spec(self, request: Request) -> tuple[Intent, Sequence[Problem]]:
        """The spec, from the cache when none of its sources has changed."""
        from algaenv.runtimes.binaries import cache_problem
        from algaenv.spec.cache import load_cached

        cache = state_dir.identify(request.spec, "").home / "cache"
        loaded = load_cached(request.spec, request.environ, cache)
        warning = cache_problem(self._cache)
        return loaded.intent, (*loaded.warnings, *([warning] if warning else ()))

    def identify(self, spec: Path, name: str) -> Environment:
        """By the real path of the spec, or by the state that a moved checkout brought along."""
        return state_dir.identify(spec, name)

    @property
    def platform(self) -> str:
        """By `uname`."""
        from algaenv.runtimes.binaries import platform_here

        return platform_here()

    def read_pins(self, spec: Path) -> Pins | None:
        """From the file beside the spec."""
        if not os.path.lexists(spec.with_suffix(".lock")):  # The import would take a while.
            return None
        from algaenv.spec import lock_file

        return lock_file.read(spec)

    def write_pins(self, spec: Path, pins: Pins) -> None:
        """Beside the spec, in one step; it is no secret."""
        from algaenv.spec import lock_file
        from algaenv.system.files import write_atomic

        path = lock_file.path_of(spec)
        try:
            write_atomic(path, lock_file.text_of(pins).encode(), mode=0o644)
        except OSError as error:
            summary = f"cannot write {path}: {error.strerror or error}"
            hint = "let the current user write beside the spec"
            raise Failed(Problem("lock-unwritable", summary, hint)) from error

    def own_pins(self, environment: Environment, intent: Intent, *, programs: bool) -> Pins:
        """By what is installed; tools are asked once, and their answers kept."""
        from algaenv.drivers.build.tool_pins import tool_pins
        from algaenv.runtimes.installed_packages import packages_here, templates_digest

        packages = packages_here(self._cache) if programs else {}
        tools = tool_pins(environment, intent.extensions, self._environ)
        return Pins(algaenv.__version__, templates_digest(), (), packages, tools)

    def runtime(self, name: str) -> Runtime:
        """Made on first use."""
        return self._runtime(name)

    def lock_environment(
        self,
        environment: Environment,
        command: str,
        *,
        wait: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> AbstractContextManager[None]:
        """A lock on a file of the state directory."""
        from algaenv.drivers.state import registry
        from algaenv.drivers.state.environment_lock import hold

        if command == "up" and environment.home.is_dir():
            registry.note(environment)  # A new one is noted with its state.
        return hold(environment, command, wait=wait, cancelled=cancelled)

    def renew_lifetime(self, environment: Environment, change: LifetimeChange | None) -> None:
        """A record in the state directory, and a process that watches it."""
        from algaenv.system.lifetime import RECORD

        if change is not None or (environment.home / RECORD).is_file():
            from algaenv.drivers.state import lifetimes

            lifetimes.renew(environment, change, self._environ)

    def is_expired(self, environment: Environment) -> bool:
        """By the record in the state directory."""
        from algaenv.system.lifetime import read_lifetime

        lifetime = read_lifetime(environment.home)
        return lifetime is not None and lifetime.is_over()

    def forget_lifetime(self, environment: Environment) -> None:
        """Removes the record."""
        from algaenv.drivers.state import lifetimes

        lifetimes.forget(environment)

    def load_state(self, environment: Environment) -> SavedState | None:
        """The saved state; an unreadable one counts as none."""
        from algaenv.spec.cache import class_table, decode, intent_classes, with_build_steps

        kept = state_dir.load(environment)
        if kept is None:
            return None
        try:
            intent = decode(with_build_steps(kept["intent"]), class_table(intent_classes()))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if not isinstance(intent, Intent):
            return None
        left = kept.get("left")
        return SavedState(
            intent,
            str(kept.get("runtime")),
            str(kept.get("tenant_id", "")),
            tuple(map(str, left)) if isinstance(left, list) else (),
            str(kept.get("spec", "")),
            _record(kept.get("record")),
        )

    def save_state(self, environment: Environment, saved: SavedState) -> None:
        """Written with mode 0600: an intent may hold secrets of the author."""
        from algaenv.spec.cache import encode

        intent = encode(saved.intent)
        state_dir.save(
            environment,
            {
                "runtime": saved.runtime,
                "tenant_id": saved.tenant_id,
                "left": list(saved.data_runtimes),
                "spec": str(environment.spec),
                "record": dict(saved.record) if saved.record is not None else None,
                "intent": intent,
            },
        )

    def remove_leftovers(self, environment: Environment, *, data: bool) -> None:
        """In the state directory, and of processes; the engine leaves nothing half made."""
        state_dir.remove_leftover_files(environment)
        if any((environment.home / name).is_dir() for name in state_dir.RUNTIME_DIRECTORIES):
            from algaenv.runtimes.process import discovery

            discovery.remove_leftovers(environment, data=data)

    def orphaned_states(self, environment: Environment) -> Sequence[OrphanedState]:
        """By the records in the directories."""
        return state_dir.find_orphaned_states(environment)

    def delete_copy(self, orphan: OrphanedState) -> None:
        """Only the directory: services and volumes of its id belong to the original."""
        state_dir.delete_copy(orphan.environment.home)

    def delete_state(self, environment: Environment) -> Sequence[Kept]:
        """Foreign files stay, unless they lie among our data."""
        foreign = state_dir.delete(environment)
        within = [
            environment.home / name for name in foreign if name in state_dir.RUNTIME_DIRECTORIES
        ]
        if within:
            raise Failed(*(_not_removed(path) for path in within))
        why = {"snapshots": "snapshots stay until `algaenv snapshot delete NAME`"}
        return [
            Kept(
                Address("file", name),
                f"{environment.home / name}: {why.get(name, 'not made by algaenv')}",
            )
            for name in foreign
        ]

    def credentials(self, environment: Environment, intent: Intent) -> Credentials:
        """Values of the spec win."""
        from algaenv.drivers.state import settings

        return settings.choose_secrets(environment, intent)

    def existing_credentials(self, environment: Environment, intent: Intent) -> Credentials | None:
        """Generates nothing."""
        from algaenv.drivers.state import settings

        return settings.existing_secrets(environment, intent)

    def ports(self, environment: Environment, intent: Intent) -> Ports:
        """An `auto` port is one without a listener when it is chosen."""
        from algaenv.drivers.state import settings
        from algaenv.runtimes.ports import find_port_holder

        return settings.choose_ports(
            environment, intent, lambda port: find_port_holder(port) is None
        )

    def bundle_builder(
        self, environment: Environment, cancelled: Callable[[], bool]
    ) -> BundleBuilder:
        """Packs into the cache of the environment."""
        from algaenv.drivers.build.bundle_builder import CachingBundleBuilder

        return CachingBundleBuilder(environment, cancelled=cancelled, environ=self._environ)

    def seed_files(self, intent: Intent) -> SeedFiles:
        """Read anew for each run."""
        if not (intent.seed.sql or intent.seed.objects):
            return SeedFiles()
        from algaenv.drivers.seed_files import read_seed_files

        return read_seed_files(intent.seed)

    def content_host(self, lock: Lock, *, writes: bool = False) -> ContentHost:
        """The object store and the database of the lock.

        Variables of libpq are removed for a managed database, and named in the problems of an
        external one. What is written anyway is read with the library that writes.
        """
        from algaenv.drivers.client_environment import libpq_variables, remove_libpq_variables
        from algaenv.drivers.content_host import StoreAndDatabase

        if isinstance(lock.intent.database, ManagedDatabase):
            remove_libpq_variables()
        variables = libpq_variables(self._environ)
        return StoreAndDatabase(lock, variables, self._kept_clients(), writes=writes)

    def snapshots(self, environment: Environment) -> Sequence[StoredSnapshot]:
        """By their manifests."""
        from algaenv.drivers.snapshots.directory import SnapshotDirectory

        return SnapshotDirectory(environment).list()

    def snapshot_host(
        self, lock: Lock, runtime: str, run_beside: Callable[[Sequence[str]], ServiceProgram]
    ) -> SnapshotHost:
        """In the state directory."""
        from algaenv.drivers.client_environment import remove_libpq_variables
        from algaenv.drivers.snapshots.host import StoreAndDatabaseSnapshots

        remove_libpq_variables()
        return StoreAndDatabaseSnapshots(lock, runtime, run_beside, self._environ)

    def require_snapshot(self, environment: Environment, name: str) -> None:
        """By its directory."""
        from algaenv.drivers.snapshots.directory import SnapshotDirectory

        SnapshotDirectory(environment).require(name)

    def delete_snapshot(self, environment: Environment, name: str) -> StoredSnapshot:
        """The directory of it."""
        from algaenv.drivers.snapshots.directory import SnapshotDirectory

        return SnapshotDirectory(environment).delete(name)

    def unfinished_restore(self, environment: Environment) -> Problem | None:
        """By a file that a restore writes before it changes anything."""
        if not (environment.home / "restoring").exists():
            return None
        from algaenv.drivers.snapshots.directory import SnapshotDirectory, unfinished

        return unfinished(SnapshotDirectory(environment).restoring())

    def _kept_clients(self) -> Clients | None:
        from algaenv.drivers.content_host import Clients
        from algaenv.drivers.database.kept_connection import KeptConnection
        from algaenv.drivers.object_store import Buckets

        if self._clients is None and self._keeps_clients:
            self._clients = Clients(Buckets(), KeptConnection())
        return self._clients

    def task_host(self, request: Request, lock: Lock) -> TaskHost:
        """As processes of this machine."""
        from algaenv.drivers.tasks import TaskDriver
        from algaenv.model.secret_mask import SecretMask, secrets_in

        mask = SecretMask((*secrets_in(lock.intent), *secrets_in(lock.credentials)))
        return TaskDriver(lock.environment, request.environ, mask, request.cancelled)

    def prober(self) -> Prober:
        """Clients of each service, imported on first use."""
        from algaenv.drivers.prober import ServiceProber

        return ServiceProber()


def _not_removed(path: Path) -> Problem:
    return Problem(
        "left-behind",
        f"cannot remove {path}: it holds something that carries no mark of this environment",
        f"see what it holds, then remove it with `rm -r {shlex.quote(str(path))}`",
    )


def _record(kept: Json) -> Mapping[str, str] | None:
    """The record of a saved state; None where there is none that can be read."""
    if not isinstance(kept, dict):
        return None
    return {address: str(it) for address, it in kept.items() if "/" in address.strip("/")}
