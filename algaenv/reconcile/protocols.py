"""The interfaces that runtimes and drivers implement for reconcile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest
from algaenv.bundle.value import dataclass
from algaenv.model.content import ContentIds
from algaenv.model.intent import TaskIntent
from algaenv.model.kind import Address
from algaenv.model.lock import Environment, Lock
from algaenv.model.log import LogLine
from algaenv.model.pins import ServicePin
from algaenv.model.plan import Blocked, Change
from algaenv.model.probe import BrokenHandler, PrewarmRequest, Probe, ProbeResult
from algaenv.model.problem import Problem
from algaenv.model.resource import Observation, Present, Resource, ServiceEngine
from algaenv.model.secret import Secret
from algaenv.model.stored_snapshot import StoredSnapshot
from algaenv.model.task import SeenTask

OnProgress = Callable[[str], None]
"""Takes one line of progress of the current step; the line never holds a secret."""


class Observer(Protocol):
    """Observes in bulk: a constant number of round trips, whatever the number of resources."""

    def observe(
        self, wanted: Sequence[Resource], *, thorough: bool = False
    ) -> Mapping[Address, Observation]:
        """Observe `wanted`, and everything else that carries this environment's mark.

        `thorough`: also what takes a request for each resource, such as files in a container.

        Every wanted address is in the result. Raises Unavailable (EngineGone for the engine) when
        the whole host does not answer. Writes nothing.
        """
        ...


class ResourceDriver(Protocol):
    """Creates, updates and deletes resources of one kind.

    Each method may be repeated after a crash. Raises Unavailable when a retry may help, Conflict,
    Refused or Failed when none will.
    """

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Create it; it was absent, or half made by a killed run."""
        ...

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Change what is there to what is wanted; `seen.running is False` means start it."""
        ...

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Delete it; succeeds when it is already gone."""
        ...


@runtime_checkable
class ReportsDiagnostics(Protocol):
    """A driver of resources that run, and so may end during a wait."""

    def diagnostics(self, address: Address) -> tuple[str, ...] | None:
        """None while it runs; else how it ended, and its last lines of output."""
        ...


@runtime_checkable
class HasLog(Protocol):
    """A driver of resources whose output is kept."""

    def log_location(self, address: Address) -> str:
        """Where the log is: a path, or a command in backticks; empty without a log."""
        ...


class LogReader(Protocol):
    """Reads the log of one service: first what is kept, then what follows. Memory is bounded."""

    def kept(self, last: int | None, since: float | None) -> Iterator[LogLine]:
        """The lines that are there, oldest first: the `last` ones, or all of them.

        `since`, Unix time in seconds, allows to leave out older lines. Raises Unavailable where the
        log cannot be read; of a service that is not there nothing is.
        """
        ...

    def follow(self, stop: Callable[[], bool]) -> Iterator[LogLine]:
        """What comes after the lines of `kept`, until `stop` returns True or the reader is closed.

        Goes on with the service after it was restarted or made anew, and waits for it while it is
        not there. What could not be read is a line with a `gap`.
        """
        ...

    def unfinished(self) -> Iterator[LogLine]:
        """A last line that has no end yet, for a caller that does not follow."""
        ...

    def close(self) -> None:
        """End a `follow` in another thread."""
        ...


@runtime_checkable
class ReadsLog(Protocol):
    """A driver of resources whose output can be read."""

    def log_reader(self, address: Address) -> LogReader:
        """A reader of one service; nothing is opened yet."""
        ...


@dataclass(frozen=True, slots=True)
class Lowered:
    """The result of lowering a lock: substrate resources, in no special order.

    `hosts` names the resource that must answer before content of that kind can be observed:
    `{"store": Address, "database": Address, "runner": Address, "redis": Address}`; an external
    database has none. A bundled `gateway` is there too; content does not wait for it. `engines`
    describe the program behind each service.
    """

    resources: tuple[Resource, ...]
    hosts: Mapping[str, Address]
    engines: tuple[ServiceEngine, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceProgram:
    """A program to run on this machine. Secrets are in its variables only."""

    words: tuple[str, ...]
    environment: Mapping[str, str | Secret]
    """Variables over those of the caller."""
    path: tuple[str, ...] = ()
    """Directories before those of PATH."""


ClientVariables = Callable[[str, Mapping[str, int]], Mapping[str, str | Secret]]
"""Host and ports by name → the variables by which clients find a service."""


class Runtime(Protocol):
    """Turns services into resources: containers, processes, …"""

    @property
    def name(self) -> str:
        """`docker` or `process`."""
        ...

    def lower(self, lock: Lock, on_progress: OnProgress) -> Lowered:
        """The substrate of `lock`.

        Looks up binaries and image references through caches; changes nothing. Raises ResolveError
        with every problem at once.
        """
        ...

    def pins(self, lock: Lock) -> Sequence[ServicePin]:
        """What would run each service, as a lock file names it; changes nothing.

        Of `lock` only environment and intent count. Raises as `lower`, and ResolveError where a
        version cannot be told.
        """
        ...

    def obstacles(self, environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
        """What keeps `changes` from being made; changes nothing.

        A service whose lock another process holds is reported even when it does not change.
        """
        ...

    def observer(self, environment: Environment) -> Observer:
        """The observer of this environment's substrate; needs no spec."""
        ...

    def drivers(self, environment: Environment) -> Mapping[str, ResourceDriver]:
        """Kind → driver."""
        ...

    def program(
        self, service: Resource, words: Sequence[str], clients: ClientVariables, *, tty: bool
    ) -> ServiceProgram:
        """How `words` are run beside or inside a service; `tty`: there is a terminal.

        Raises ResolveError where this machine lacks what it takes.
        """
        ...


class Snapshot(Protocol):
    """The content as read once; observing it does no further I/O."""

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        """Observe `wanted`, and all bundles and releases of this environment."""
        ...

    @property
    def ids(self) -> ContentIds:
        """Tenant and registry ids of the database."""
        ...

    def blockers(self, wanted: Sequence[Resource]) -> Mapping[Address, Problem]:
        """What keeps resources of `wanted` from being changed."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedBundle:
    """A whole copy of a bundle in the store, and what is in it."""

    archive: Path
    digest: Digest
    manifest: Manifest
    page_sha256: str | None
    """SHA-256 of its ui/index.html; None without a page."""


class ContentHost(Protocol):
    """The object store and the database, as one place that holds content."""

    def snapshot(self, lock: Lock) -> Snapshot:
        """Read rows and objects once; raises Unavailable when a host does not answer."""
        ...

    def drivers(self) -> Mapping[str, ResourceDriver]:
        """Kind → driver: bucket, schema, tenant, bundle, release."""
        ...

    def fetch(self, handle: str, directory: Path) -> FetchedBundle:
        """Copy the bundle that an observation names so into a directory, unless it is there.

        Raises Unavailable, Refused and Failed (`kept-damaged`).
        """
        ...


class SnapshotHost(Protocol):
    """The object store and the database, to be saved under a name and put back."""

    def save(self, name: str, on_progress: OnProgress, *, replace: bool) -> StoredSnapshot:
        """Save both; `replace` one of that name. Raises Refused and Failed, and leaves nothing."""
        ...

    def restore(self, name: str, on_progress: OnProgress) -> StoredSnapshot:
        """Put one back. Raises Refused and Failed; the environment is as it was then, or the next
        restore goes on."""
        ...


class TaskHost(ResourceDriver, Protocol):
    """Runs tasks, and knows which ran; a step that runs one is a `create`."""

    def observe(self, tasks: Sequence[TaskIntent]) -> Mapping[str, SeenTask]:
        """Name → what each reads now, and its last run that ended well. Writes nothing."""
        ...


class Prober(Protocol):
    """Sends probes to services."""

    def probe(self, probe: Probe) -> ProbeResult:
        """The result, within a second or two; never raises for what the other side does."""
        ...

    def prewarm(self, request: PrewarmRequest) -> ProbeResult | BrokenHandler:
        """Compile and link a handler, within `request.seconds`. Never raises either.

        Yes also when there is no handler, or when this runner prewarms none.
        """
        ...
