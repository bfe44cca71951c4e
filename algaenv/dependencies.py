"""What a request is, what the use cases offer, and what they need of the packages below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from algaenv.bundle.value import dataclass
from algaenv.model.event import Emit, Report
from algaenv.model.intent import (
    ImagesChoice,
    Intent,
    RuntimeChoice,
)
from algaenv.model.lock import Credentials, Environment, Lock, OrphanedState, Ports
from algaenv.model.plan import Kept, Plan
from algaenv.model.problem import Problem
from algaenv.model.status import ExtensionEndpoint, Status
from algaenv.reconcile.protocols import ContentHost, Prober, Runtime
from algaenv.reconcile.resolve import BundleBuilder


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line says about which environment, and how.

    `spec` is an absolute path that need not exist for `down`. `runtime` and `images` override
    the spec; None leaves them. `cancelled` is asked between steps.
    """

    spec: Path
    environ: Mapping[str, str]
    runtime: RuntimeChoice | None = None
    images: ImagesChoice | None = None
    adopt: bool = False
    leave_data: bool = False
    """Whether data may be left behind."""
    extensions: tuple[str, ...] = ()
    """The extensions that `up` and `plan` are about; none: all of them."""
    cancelled: Callable[[], bool] = lambda: False


class UseCases(Protocol):
    """The whole program below its surface. SpecError, Locked, EngineGone, ResolveError and other
    AlgaenvError are raised by `plan`, `status` and `reach`; `up` and `down` put them into their
    report.
    """

    def up(self, request: Request, emit: Emit) -> Report:
        """Converge; the report is also the last event."""
        ...

    def plan(self, request: Request, emit: Emit) -> Plan:
        """What `up` would do; writes nothing but the cache."""
        ...

    def status(self, request: Request, emit: Emit) -> Status:
        """What is there."""
        ...

    def down(self, request: Request, emit: Emit, *, volumes: bool) -> Report:
        """Remove what is ours; data is kept unless `volumes`."""
        ...

    def endpoint_of(self, request: Request, extension: str) -> ExtensionEndpoint:
        """Where an extension is called, by its name in the spec, or by any name the gateway knows.

        Asks the gateway nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class SavedState:
    """What the last `up` of an environment left in its home about itself."""

    intent: Intent
    runtime: str
    tenant_id: str = ""
    """The tenant's id, empty where it was not learned."""
    left: tuple[str, ...] = ()
    """Other runtimes, with which data was left."""
    spec: str = ""
    """The path of the spec then."""


class Dependencies(Protocol):
    """What a session needs of the rooms below, chosen in `algaenv.wiring`."""

    def load_spec(self, request: Request) -> tuple[Intent, Sequence[Problem]]:
        """The spec and its warnings; SpecError."""
        ...

    def identify(self, spec: Path, name: str) -> Environment:
        """Which environment a spec is; opens nothing."""
        ...

    def lock_environment(
        self, environment: Environment, command: str
    ) -> AbstractContextManager[None]:
        """One run at a time; Locked."""
        ...

    def load_state(self, environment: Environment) -> SavedState | None:
        """What the last run wrote down, None when nothing readable is there."""
        ...

    def save_state(self, environment: Environment, recorded: SavedState) -> None:
        """Write it down for a later `down` and `status`."""
        ...

    def remove_leftovers(self, environment: Environment, *, data: bool) -> None:
        """Remove what killed runs have left; `data`: of runtimes as well. Raises AlgaenvError with
        all that could not be removed."""
        ...

    def orphaned_states(self, environment: Environment) -> Sequence[OrphanedState]:
        """What other checkouts, or specs that are gone, have left beside this environment."""
        ...

    def delete_copy(self, left: OrphanedState) -> None:
        """Remove the directory of a copy; Failed."""
        ...

    def delete_state(self, environment: Environment) -> Sequence[Kept]:
        """Remove the environment's home, after its data went too; what others put there stays.

        Raises Failed (`left-behind`) with all of ours that could not be removed.
        """
        ...

    def credentials(self, environment: Environment, intent: Intent) -> Credentials:
        """Secrets as given, or generated once and kept."""
        ...

    def existing_credentials(self, environment: Environment, intent: Intent) -> Credentials | None:
        """The same without generating any; None when one is missing."""
        ...

    def ports(self, environment: Environment, intent: Intent) -> Ports:
        """Ports as given, or chosen once."""
        ...

    def bundle_builder(
        self, environment: Environment, cancelled: Callable[[], bool]
    ) -> BundleBuilder:
        """Builds and packs extensions; a build ends early when `cancelled` says so."""
        ...

    def choose_runtime(
        self,
        request: Request,
        environment: Environment,
        intent: Intent,
        recorded: SavedState | None,
    ) -> tuple[Runtime, str]:
        """The runtime, and why it is this one; EngineGone, Conflict."""
        ...

    def runtime_move_warning(
        self, environment: Environment, before: str, runtime: str
    ) -> Problem | None:
        """What is told when an environment leaves `before` for `runtime`; None when it has no data
        there."""
        ...

    def runtimes_present(
        self, environment: Environment, recorded: SavedState | None, *, data: bool
    ) -> Sequence[Runtime]:
        """The runtimes that may hold something of this environment; `data`: or data alone."""
        ...

    def content_host(self, lock: Lock) -> ContentHost:
        """Where rows and objects of a lock live."""
        ...

    def prober(self) -> Prober:
        """Puts probes to services."""
        ...
