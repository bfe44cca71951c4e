"""The process runtime."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from algaenv.model.intent import Intent, Profile
from algaenv.model.lock import LOOPBACK, Environment, Lock
from algaenv.model.pins import ServicePin
from algaenv.model.plan import Blocked, Change
from algaenv.model.resource import Resource
from algaenv.reconcile.protocols import (
    ClientVariables,
    Lowered,
    Observer,
    OnProgress,
    ResourceDriver,
    ServiceProgram,
)
from algaenv.runtimes.memo import stamp_of
from algaenv.runtimes.process.author_processes import with_author_services
from algaenv.runtimes.process.layout import Layout, busy_error
from algaenv.runtimes.process.lower import folder_name, lower
from algaenv.runtimes.process.observer import ProcessObserver
from algaenv.runtimes.process.programs import ServicePrograms, select_programs, service_pins
from algaenv.runtimes.process.specs import FOLDER, PROCESS, ProcessSpec
from algaenv.runtimes.services import ServiceName

_CALLERS = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "USER"})
"""Variables that a program beside a service has from its caller."""


class ProcessRuntime:
    """Services as local processes.

    Programs are searched in `environ`, and services inherit a few variables of it. `cache` is a
    directory for slow results; None keeps nothing.
    """

    def __init__(self, environ: Mapping[str, str], cache: Path | None) -> None:
        self._environ = environ
        self._cache = cache
        self._selected: tuple[tuple[Environment, Intent], str, ServicePrograms] | None = None
        """What was selected last, with the stamp of what it was made from."""

    @property
    def name(self) -> str:
        """`process`."""
        return "process"

    def lower(self, lock: Lock, on_progress: OnProgress) -> Lowered:
        """Folders and processes; raises ResolveError (`binary-missing`, `runtime-cannot`,
        `service-cannot-run`)."""
        lowered = lower(lock, self._programs(lock), self._environ)
        return with_author_services(lowered, lock, self._environ)

    def programs(self, lock: Lock) -> Mapping[ServiceName, Path]:
        """The program of each service that has one of its own."""
        return {service: it.binary.path for service, it in self._programs(lock).items()}

    def pins(self, lock: Lock) -> Sequence[ServicePin]:
        """The programs, by version and hash."""
        return service_pins(lock, self._programs(lock), self._cache)

    def _programs(self, lock: Lock) -> ServicePrograms:
        """Searched anew when the spec is another one, or a program or a folder has changed."""
        data = Layout(lock.environment.home).data
        if self._selected is not None:
            subject, stamp, programs = self._selected
            if subject == (lock.environment, lock.intent) and stamp == _stamp(programs, data):
                return programs
        programs = self._select(lock)
        self._selected = (lock.environment, lock.intent), _stamp(programs, data), programs
        return programs

    def _select(self, lock: Lock) -> ServicePrograms:
        from algaenv.runtimes.process.drivers.folders import read_marker

        layout = Layout(lock.environment.home)

        def folder(service: ServiceName, profile: Profile) -> Path | None:
            place = layout.folder(folder_name(service, profile.name))
            marker = read_marker(place)
            ours = marker is not None and marker.environment == lock.environment.id
            return place if ours else None

        return select_programs(lock, self._environ, self._cache, folder)

    def obstacles(self, environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
        """Services whose supervisor cannot be seen (`shim-busy`); else taken ports
        (`port-taken`)."""
        from algaenv.runtimes.process import discovery

        busy = tuple(
            Blocked(address, busy_error(address).problem)
            for address in discovery.hidden_services(environment)
        )
        if busy or not changes:
            return busy
        from algaenv.runtimes.process.drivers.processes import port_obstacles

        return port_obstacles(environment, changes)

    def observer(self, environment: Environment) -> Observer:
        """Reads records and /proc."""
        return ProcessObserver(environment)

    def program(
        self, service: Resource, words: Sequence[str], clients: ClientVariables, *, tty: bool
    ) -> ServiceProgram:
        """Beside the service, with its variables; programs beside its own come first on PATH."""
        body = service.body
        if not isinstance(body, ProcessSpec):
            raise TypeError(body)
        own = {name: value for name, value in body.environment.items() if name not in _CALLERS}
        variables = {**own, **clients(LOOPBACK, body.ports)}
        return ServiceProgram(tuple(words), variables, (str(Path(body.argv[0]).parent),))

    def drivers(self, environment: Environment) -> Mapping[str, ResourceDriver]:
        """For `folder` and `process`; the latter also has `diagnostics`."""
        from algaenv.runtimes.process.drivers.folders import FolderDriver
        from algaenv.runtimes.process.drivers.processes import ProcessDriver

        templates = self._cache / "postgres" if self._cache else None
        return {
            FOLDER: FolderDriver(environment),
            PROCESS: ProcessDriver(environment, templates),
        }


def _stamp(programs: ServicePrograms, data: Path) -> str:
    """Of what the selection was made from: the programs, and the folders with their markers."""
    folders = sorted(data.glob("*/*"))
    versions = sorted(data.glob("*/content/PG_VERSION"))
    return stamp_of([*(it.binary.path for it in programs.values()), data, *folders, *versions])
