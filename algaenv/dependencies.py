"""Interfaces of the application: its requests, its use cases, and what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from algaenv.bundle.value import dataclass, replace
from algaenv.model.drift import DriftReport
from algaenv.model.event import Emit, Report
from algaenv.model.intent import (
    ExternalDatabase,
    ImagesChoice,
    Intent,
    ManagedDatabase,
    RuntimeChoice,
)
from algaenv.model.lock import (
    Credentials,
    Environment,
    LifetimeChange,
    Lock,
    OrphanedState,
    Ports,
    SeedFiles,
)
from algaenv.model.log import LogEntry, LogQuery
from algaenv.model.plan import Kept, Plan
from algaenv.model.problem import Problem
from algaenv.model.secret_mask import SecretMask
from algaenv.model.status import ExtensionEndpoint, GatewayAddress, Status
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.reconcile.protocols import (
    ContentHost,
    Lowered,
    OnProgress,
    Prober,
    Runtime,
    ServiceProgram,
    SnapshotHost,
    TaskHost,
)
from algaenv.reconcile.resolve import BundleBuilder

if TYPE_CHECKING:
    from algaenv.model.pins import PinDifference, Pins
    from algaenv.plan.saved import PlanOptions, SavedPlan
    from algaenv.reconcile.rollback import KeptVersion


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for.

    `spec` is an absolute path that need not exist for `down`. `runtime` and `images` override
    the spec; None leaves them. `cancelled` is called between steps.
    """

    spec: Path
    environ: Mapping[str, str]
    runtime: RuntimeChoice | None = None
    images: ImagesChoice | None = None
    adopt: bool = False
    leave_data: bool = False
    """True: the environment may move to another runtime and leave its data behind."""
    extensions: tuple[str, ...] = ()
    """The extensions that `up` and `plan` are about; none: all of them."""
    cancelled: Callable[[], bool] = lambda: False
    lock_seconds: float = 0.0
    """How long to wait for another run that holds the environment."""
    ready_seconds: float | None = None
    """How long to wait for answers; None: as the spec says."""
    limit_seconds: float | None = None
    """How long the whole `up` may take; None: as long as it takes."""
    lifetime: LifetimeChange | None = None
    """What is new about the end of the environment."""
    only_expired: bool = False
    """`down` leaves an environment alone whose time is not over."""
    ephemeral_name: str | None = None
    """Brings the environment up under this name, with free ports in place of those of the spec."""
    thorough: bool = False
    """Whether what takes a request for each resource is compared as well: files in containers."""
    saved_plan: SavedPlan | None = None
    """`up` does exactly this, or nothing; None: whatever brings the environment to the spec."""
    wrap_builder: Callable[[BundleBuilder], BundleBuilder] | None = None
    """Replaces what builds the bundles; None: nothing does."""
    locked: bool = False
    """Refuses an `up` that would run something else than the lock file names."""
    keeps_clients: bool = False
    """Whether what is connected to stays so between the runs of one application."""

    def of_plan(self, plan: SavedPlan) -> Request:
        """The request to carry out a plan, with the options that it was made with."""
        options = plan.options
        return replace(
            self,
            saved_plan=plan,
            runtime=options.runtime,
            images=options.images,
            adopt=options.adopt,
            thorough=options.thorough,
            extensions=options.extensions,
        )

    def plan_options(self) -> PlanOptions:
        """What a plan depends on."""
        from algaenv.plan.saved import PlanOptions

        return PlanOptions(self.runtime, self.images, self.adopt, self.thorough, self.extensions)


@dataclass(frozen=True, slots=True)
class LockResult:
    """A lock file that was written, unless it was as it should be already."""

    path: Path
    pins: Pins
    changes: tuple[PinDifference, ...]
    left_out: Mapping[str, Problem]
    """Runtime → why nothing of it could be looked up here."""


class UseCases(Protocol):
    """The use cases. SpecError, Locked, EngineGone, ResolveError and other AlgaenvError are raised
    by `plan`, `drift`, `status`, `endpoint_of`, `versions_of` and `program_in`; the others put
    them into their report.
    """

    def up(self, request: Request, emit: Emit) -> Report:
        """Bring the environment to what the spec says; the report is also the last event."""
        ...

    def plan(self, request: Request, emit: Emit) -> Plan:
        """The plan of `up`; writes nothing but the cache."""
        ...

    def write_lock(self, request: Request, update: Sequence[str] | None) -> LockResult:
        """Write the lock file; `update` names pins that are taken anew, an empty one all of them.

        Of pins that are there and right for the spec, all others stay.
        """
        ...

    def check_lock(self, request: Request) -> Sequence[PinDifference]:
        """What `up --locked` would refuse to run; changes nothing.

        Raises LockDiffers (`lock-missing`) without a lock file.
        """
        ...

    def plan_to_save(self, request: Request, emit: Emit) -> tuple[Plan, SavedPlan]:
        """The plan of `up`, and what `up` of it must find as it is now."""
        ...

    def status(self, request: Request, emit: Emit) -> Status:
        """The services and extensions that are there."""
        ...

    def settings_of(self, request: Request) -> tuple[Lowered, str]:
        """The services of the environment as they were asked for, and the name of its runtime.

        Raises NotReady (`not-up`) where no `up` has left anything.
        """
        ...

    def drift(self, request: Request, emit: Emit) -> DriftReport:
        """What something else changed since the last `up`; writes nothing.

        Raises NotReady (`drift-no-record`) where no `up` has left anything.
        """
        ...

    def down(self, request: Request, emit: Emit, *, volumes: bool) -> Report:
        """Remove the environment; data is kept unless `volumes`."""
        ...

    def endpoint_of(self, request: Request, extension: str) -> ExtensionEndpoint:
        """Where an extension is called, by its name in the spec, or by any name the gateway knows.

        Sends no request to the gateway.
        """
        ...

    def gateway_of(self, request: Request) -> GatewayAddress:
        """The gateway of the environment; raises Refused (`gateway-none`) where it runs none.

        Reads no rows and sends no request.
        """
        ...

    def secret_mask(self, request: Request) -> SecretMask:
        """Hides the secrets of the environment, those of its installs included."""
        ...

    def logs(
        self, request: Request, query: LogQuery, stop: Callable[[], bool]
    ) -> Iterator[LogEntry]:
        """The entries of the services' logs, those that follow until `stop` returns True.

        Everything that is wrong with the request is raised before the first entry.
        """
        ...

    def versions_of(self, request: Request, extension: str) -> Sequence[KeptVersion]:
        """The versions of an extension that the object store has, the newest first."""
        ...

    def program_in(
        self, request: Request, service: str, words: Sequence[str], *, tty: bool
    ) -> ServiceProgram:
        """How `words` are run with the variables and clients of a service, on this machine."""
        ...

    def run_task(self, request: Request, name: str, emit: Emit) -> Report:
        """Run one task of the spec now, whatever its profiles, its needs and its last run."""
        ...

    def restart(self, request: Request, services: Sequence[str], emit: Emit) -> Report:
        """Start services anew, all without names, as the last run made them; changes no content."""
        ...

    def snapshots(self, request: Request) -> Sequence[StoredSnapshot]:
        """The snapshots of the environment, the newest first."""
        ...

    def save_snapshot(
        self, request: Request, name: str, on_progress: OnProgress, *, replace: bool
    ) -> StoredSnapshot:
        """Save store and database under a name. Raises Refused, Failed, NotReady and Locked."""
        ...

    def restore_snapshot(
        self, request: Request, name: str, on_progress: OnProgress
    ) -> StoredSnapshot:
        """Put store and database back. Raises as `save_snapshot`."""
        ...

    def delete_snapshot(self, request: Request, name: str) -> StoredSnapshot:
        """Remove a snapshot. Raises Refused, Failed and Locked."""
        ...


@dataclass(frozen=True, slots=True)
class SavedState:
    """What the last `up` saved in the state directory of its environment."""

    intent: Intent
    runtime: str
    tenant_id: str = ""
    """The tenant's id; empty while unknown."""
    data_runtimes: tuple[str, ...] = ()
    """Other runtimes that still hold data of the environment."""
    spec: str = ""
    """The path of the spec at that time."""
    record: Mapping[str, str] | None = None
    """Address → fingerprint of what it left; None where an earlier version saved none."""


DATABASE_MOVED = Problem(
    code="database-moved",
    summary="cannot look into the database of the last run any more: install rows of ours may stay",
    hint="bring its `url` back, run `algaenv down`, and change the database then",
)


def tenant_of(saved: SavedState | None, intent: Intent) -> str:
    """The tenant of the last run, if the spec names the same tenant of the same database.

    A managed database keeps its tenant under a new name of the environment.
    """
    if saved is None or saved.intent.tenant != intent.tenant:
        return ""
    managed = [isinstance(it.database, ManagedDatabase) for it in (saved.intent, intent)]
    same = all(managed) or saved.intent.database == intent.database
    return saved.tenant_id if same else ""


def leaves_external_database(before: Intent, now: Intent) -> bool:
    """True when the spec names another database than the external one of the last run."""
    return isinstance(before.database, ExternalDatabase) and before.database != now.database


class Dependencies(Protocol):
    """What the use cases need of runtimes, drivers and spec; implemented by `wiring.Container`."""

    def load_spec(self, request: Request) -> tuple[Intent, Sequence[Problem]]:
        """The spec and its warnings; raises SpecError."""
        ...

    def identify(self, spec: Path, name: str) -> Environment:
        """The environment of a spec; reads no file of it."""
        ...

    @property
    def platform(self) -> str:
        """`linux/amd64` and the like: of this machine."""
        ...

    def read_pins(self, spec: Path) -> Pins | None:
        """The lock file of a spec; None without one. Raises SpecError."""
        ...

    def write_pins(self, spec: Path, pins: Pins) -> None:
        """Write the lock file. Raises Failed (`lock-unwritable`)."""
        ...

    def own_pins(self, environment: Environment, intent: Intent, *, programs: bool) -> Pins:
        """Pins of all but services: this package, its templates and tools of builds.

        With `programs` also the packages of Python that services run with.
        """
        ...

    def runtime(self, name: str) -> Runtime:
        """A runtime by its name; raises EngineGone."""
        ...

    def lock_environment(
        self,
        environment: Environment,
        command: str,
        *,
        wait: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> AbstractContextManager[None]:
        """Hold the lock of the environment; raises Locked when it is not free within `wait`
        seconds, or by the time that `cancelled` returns True."""
        ...

    def renew_lifetime(self, environment: Environment, change: LifetimeChange | None) -> None:
        """Count the time of an environment with an end from now on; raises Failed."""
        ...

    def is_expired(self, environment: Environment) -> bool:
        """Whether its time is over, or its owner gone."""
        ...

    def forget_lifetime(self, environment: Environment) -> None:
        """It has been taken down: nothing is left to watch."""
        ...

    def load_state(self, environment: Environment) -> SavedState | None:
        """The saved state; None when there is none, or none that can be read."""
        ...

    def save_state(self, environment: Environment, saved: SavedState) -> None:
        """Save the state for a later `down` and `status`."""
        ...

    def remove_leftovers(self, environment: Environment, *, data: bool) -> None:
        """Remove what killed runs have left; with `data` that of runtimes as well.

        Raises AlgaenvError with everything that could not be removed.
        """
        ...

    def orphaned_states(self, environment: Environment) -> Sequence[OrphanedState]:
        """States beside this environment of other checkouts, or of specs that are gone."""
        ...

    def delete_copy(self, orphan: OrphanedState) -> None:
        """Remove the state directory of a copied checkout; raises Failed."""
        ...

    def delete_state(self, environment: Environment) -> Sequence[Kept]:
        """Remove the state directory, after the data; returns foreign files, which stay.

        Raises Failed (`left-behind`) with everything of ours that could not be removed.
        """
        ...

    def credentials(self, environment: Environment, intent: Intent) -> Credentials:
        """Secrets as given in the spec, or generated once and kept."""
        ...

    def existing_credentials(self, environment: Environment, intent: Intent) -> Credentials | None:
        """The credentials without generating any; None when one is missing."""
        ...

    def ports(self, environment: Environment, intent: Intent) -> Ports:
        """Ports as given in the spec, or chosen once and kept."""
        ...

    def bundle_builder(
        self, environment: Environment, cancelled: Callable[[], bool]
    ) -> BundleBuilder:
        """Builds and packs extensions; a build ends early once `cancelled` returns True."""
        ...

    def seed_files(self, intent: Intent) -> SeedFiles:
        """What the files of its seeds hold; raises ResolveError with all that cannot be read."""
        ...

    def choose_runtime(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        saved: SavedState | None,
    ) -> tuple[Runtime, str]:
        """The runtime and the reason of the choice; raises EngineGone or Conflict."""
        ...

    def runtime_move_warning(
        self, environment: Environment, before: str, runtime: str
    ) -> Problem | None:
        """The warning when an environment moves from `before` to `runtime`; None without data
        there."""
        ...

    def runtimes_present(
        self, environment: Environment, saved: SavedState | None, *, data: bool
    ) -> Sequence[Runtime]:
        """The runtimes that may hold parts of this environment; with `data` also mere data."""
        ...

    def content_host(self, lock: Lock, *, writes: bool = False) -> ContentHost:
        """The database and the object store of a lock; `writes`: it will be written to."""
        ...

    def snapshots(self, environment: Environment) -> Sequence[StoredSnapshot]:
        """The snapshots that can be read, the newest first."""
        ...

    def snapshot_host(
        self, lock: Lock, runtime: str, run_beside: Callable[[Sequence[str]], ServiceProgram]
    ) -> SnapshotHost:
        """Saves and restores the content of a lock; `run_beside` runs programs of its database."""
        ...

    def require_snapshot(self, environment: Environment, name: str) -> None:
        """Raise Refused (`snapshot-unknown`) for a name that no snapshot has; changes nothing."""
        ...

    def delete_snapshot(self, environment: Environment, name: str) -> StoredSnapshot:
        """Remove a snapshot; raises Refused and Failed."""
        ...

    def unfinished_restore(self, environment: Environment) -> Problem | None:
        """The problem of a restore that was killed; None without one."""
        ...

    def task_host(self, request: Request, lock: Lock) -> TaskHost:
        """Runs the tasks of a lock, with the variables of the request under their own."""
        ...

    def prober(self) -> Prober:
        """Sends probes to services."""
        ...
