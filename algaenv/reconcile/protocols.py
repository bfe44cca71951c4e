"""What reconcile asks of the rooms above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Protocol, runtime_checkable

from algaenv.bundle.value import dataclass
from algaenv.model.address import Address
from algaenv.model.content import ContentIds
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import Blocked, Change
from algaenv.model.probe import Probe, ProbeResult
from algaenv.model.resource import Observation, Present, Resource, ServiceEngine

OnProgress = Callable[[str], None]
"""One line of progress of the step at hand; never holds a secret."""


class Observer(Protocol):
    """Looks in bulk: a handful of round trips, however many resources there are."""

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        """What is there of `wanted`, and everything else that carries this environment's mark.

        Every wanted address has an answer. Raises Unavailable (EngineGone for the engine) when
        the whole host does not answer. Writes nothing.
        """
        ...


class ResourceDriver(Protocol):
    """Makes and unmakes resources of one kind. Each method may be repeated after a crash.

    Raises Unavailable when another try may help, Conflict, Refused or Failed when none will.
    """

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Make it; it was absent, or half made by a run that died."""
        ...

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Bring what is there to what is wanted; `seen.running is False` means start it."""
        ...

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove it; already gone counts as done."""
        ...


@runtime_checkable
class ReportsDiagnostics(Protocol):
    """ResourceDriver of things that run, and so may end while they are waited for."""

    def diagnostics(self, address: Address) -> tuple[str, ...] | None:
        """None while it runs as it should; its last lines, with how it ended, when it does not."""
        ...


@runtime_checkable
class HasLog(Protocol):
    """ResourceDriver of things whose output is kept."""

    def log_location(self, address: Address) -> str:
        """How a person reads it: a path, or a command in backticks; empty where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Lowered:
    """What a runtime makes of a lock: its substrate, hosts and services, in no special order.

    `hosts` names the resource that must answer before content of that kind can be seen:
    `{"store": Address, "database": Address, "runner": Address, "redis": Address}`; an external
    database has none. A `gateway` of ours is there too, for which content does not wait. `engines`
    are what runs each service.
    """

    resources: tuple[Resource, ...]
    hosts: Mapping[str, Address]
    engines: tuple[ServiceEngine, ...] = ()


class Runtime(Protocol):
    """Docker, processes, …: how services become things."""

    @property
    def name(self) -> str:
        """`docker` or `process`."""
        ...

    def lower(self, lock: Lock, on_progress: OnProgress) -> Lowered:
        """The substrate of `lock`.

        Looks up what it must (which binaries there are, which image a reference means) through
        caches; changes nothing. Raises ResolveError with every problem at once, before anything
        is touched.
        """
        ...

    def obstacles(self, environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
        """What keeps `changes` from being made before any of them is begun; looks, and no more.

        A service that somebody else works on is told whether or not it is to be changed.
        """
        ...

    def observer(self, environment: Environment) -> Observer:
        """Observes this environment's substrate; works with the spec missing."""
        ...

    def drivers(self, environment: Environment) -> Mapping[str, ResourceDriver]:
        """Kind → hands."""
        ...


class Snapshot(Observer, Protocol):
    """One bulk look at the content, already taken; observing costs nothing more."""

    @property
    def ids(self) -> ContentIds:
        """What the database says about tenant and registry ids."""
        ...


class ContentHost(Protocol):
    """The object store and the database, as one place that holds content."""

    def snapshot(self, lock: Lock) -> Snapshot:
        """Snapshot once at rows and objects; Unavailable when a host does not answer."""
        ...

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """Kind → hands: bucket, schema, tenant, bundle, release."""
        ...


@dataclass(frozen=True, slots=True)
class PrewarmRequest:
    """A handler to be compiled and linked by the runner at `base_url`, before anybody calls it."""

    base_url: str
    tenant_id: str
    registry_id: str
    content_hash: str
    token: str = field(default="", repr=False)
    """What the runner wants to be shown; empty for nothing."""
    seconds: float = field(default=0.0, compare=False)
    """How long it may take; 0: as long as is usual."""


@dataclass(frozen=True, slots=True)
class BrokenHandler:
    """The handler can never be called: `reason` in one line, and what lies beneath, outermost
    first."""

    reason: str
    hint: str
    causes: tuple[str, ...] = ()


class Prober(Protocol):
    """Puts questions to services."""

    def probe(self, probe: Probe) -> ProbeResult:
        """The answer, within a second or two; never raises for what the other side does."""
        ...

    def prewarm(self, warming: PrewarmRequest) -> ProbeResult | BrokenHandler:
        """Have a handler made ready, however long that takes. Never raises either.

        Yes also when there is no handler, or when this runner warms none.
        """
        ...
