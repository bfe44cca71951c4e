"""What a request is, what the use cases offer, and what they need of the packages below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from algaenv.bundle.value import dataclass
from algaenv.model.event import Emit
from algaenv.model.intent import (
    ImagesChoice,
    Intent,
    RuntimeChoice,
)
from algaenv.model.lock import Credentials, Environment, LeftState, Lock, Ports
from algaenv.model.outcome import Report
from algaenv.model.plan import Kept, Plan
from algaenv.model.problem import Problem
from algaenv.model.status import Reach, Status
from algaenv.reconcile.protocols import Asker, ContentHost, Runtime
from algaenv.reconcile.resolve import Packs


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
    agreed: bool = False
    """Whether data may be left behind."""
    extensions: tuple[str, ...] = ()
    """The extensions that `up` and `plan` are about; none: all of them."""
    cancelled: Callable[[], bool] = lambda: False


class Session(Protocol):
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

    def reach(self, request: Request, extension: str) -> Reach:
        """Where an extension is called, by its name in the spec, or by any name the gateway knows.

        Asks the gateway nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the last `up` of an environment left in its home about itself."""

    intent: Intent
    runtime: str
    tenant_id: str = ""
    """The tenant's id, empty where it was not learned."""
    left: tuple[str, ...] = ()
    """Other runtimes, with which data was left."""
    spec: str = ""
    """The path of the spec then."""


class House(Protocol):
    """What a session needs of the rooms below, chosen in `algaenv.wiring`."""

    def load(self, request: Request) -> tuple[Intent, Sequence[Problem]]:
        """The spec and its warnings; SpecError."""
        ...

    def identify(self, spec: Path, name: str) -> Environment:
        """Which environment a spec is; opens nothing."""
        ...

    def hold(self, environment: Environment, command: str) -> AbstractContextManager[None]:
        """One run at a time; Locked."""
        ...

    def recall(self, environment: Environment) -> Recorded | None:
        """What the last run wrote down, None when nothing readable is there."""
        ...

    def remember(self, environment: Environment, recorded: Recorded) -> None:
        """Write it down for a later `down` and `status`."""
        ...

    def sweep(self, environment: Environment, *, data: bool) -> None:
        """Remove what killed runs have left; `data`: of runtimes as well. Raises AlgaenvError with
        all that could not be removed."""
        ...

    def left_beside(self, environment: Environment) -> Sequence[LeftState]:
        """What other checkouts, or specs that are gone, have left beside this environment."""
        ...

    def discard(self, left: LeftState) -> None:
        """Remove the directory of a copy; Failed."""
        ...

    def forget(self, environment: Environment) -> Sequence[Kept]:
        """Remove the environment's home, after its data went too; what others put there stays.

        Raises Failed (`left-behind`) with all of ours that could not be removed.
        """
        ...

    def credentials(self, environment: Environment, intent: Intent) -> Credentials:
        """Secrets as given, or generated once and kept."""
        ...

    def peek(self, environment: Environment, intent: Intent) -> Credentials | None:
        """The same without generating any; None when one is missing."""
        ...

    def ports(self, environment: Environment, intent: Intent) -> Ports:
        """Ports as given, or chosen once."""
        ...

    def packer(self, environment: Environment, cancelled: Callable[[], bool]) -> Packs:
        """Builds and packs extensions; a build ends early when `cancelled` says so."""
        ...

    def choose(
        self, request: Request, environment: Environment, intent: Intent, recorded: Recorded | None
    ) -> tuple[Runtime, str]:
        """The runtime, and why it is this one; EngineGone, Conflict."""
        ...

    def left_by_moving(self, environment: Environment, before: str, runtime: str) -> Problem | None:
        """What is told when an environment leaves `before` for `runtime`; None when it has no data
        there."""
        ...

    def present(
        self, environment: Environment, recorded: Recorded | None, *, data: bool
    ) -> Sequence[Runtime]:
        """The runtimes that may hold something of this environment; `data`: or data alone."""
        ...

    def content(self, lock: Lock) -> ContentHost:
        """Where rows and objects of a lock live."""
        ...

    def asker(self) -> Asker:
        """Puts probes to services."""
        ...
