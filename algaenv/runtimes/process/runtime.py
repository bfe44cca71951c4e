"""The runtime `process`: what reconcile is handed."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from algaenv.model.intent import Profile
from algaenv.model.lock import Environment, Lock
from algaenv.model.plan import Blocked, Change
from algaenv.reconcile.protocols import Lowered, Observer, OnProgress, ResourceDriver
from algaenv.runtimes.process.bodies import FOLDER, PROCESS
from algaenv.runtimes.process.eyes import ProcessEyes
from algaenv.runtimes.process.layout import Layout
from algaenv.runtimes.process.lower import folder_name, lower
from algaenv.runtimes.process.supply import choose
from algaenv.runtimes.services import ServiceName


class ProcessRuntime:
    """Services as local processes.

    `environ` is where programs are looked for and what services inherit a few names of. `cache`
    keeps between runs what takes time to find out; None keeps nothing.
    """

    def __init__(self, environ: Mapping[str, str], cache: Path | None) -> None:
        self._environ = environ
        self._cache = cache

    @property
    def name(self) -> str:
        """`process`."""
        return "process"

    def lower(self, lock: Lock, on_progress: OnProgress) -> Lowered:
        """Folders and processes; raises ResolveError (`binary-missing`, `runtime-cannot`)."""
        from algaenv.runtimes.process.folders import read_marker

        layout = Layout(lock.environment.home)

        def folder(service: ServiceName, profile: Profile) -> Path | None:
            place = layout.folder(folder_name(service, profile.name))
            marker = read_marker(place)
            ours = marker is not None and marker.environment == lock.environment.id
            return place if ours else None

        supplies = choose(lock, self._environ, self._cache, folder)
        return lower(lock, supplies, self._environ)

    def obstacles(self, environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
        """Services held by a shim that cannot be seen (`shim-busy`); else ports that others hold
        (`port-taken`)."""
        from algaenv.runtimes.process import living, service_lock

        busy = tuple(
            Blocked(address, service_lock.busy(address).problem)
            for address in living.out_of_sight(environment)
        )
        if busy or not changes:
            return busy
        from algaenv.runtimes.process.processes import taken_ports

        return taken_ports(environment, changes)

    def observer(self, environment: Environment) -> Observer:
        """Reads records and /proc."""
        return ProcessEyes(environment)

    def drivers(self, environment: Environment) -> Mapping[str, ResourceDriver]:
        """For `folder` and `process`; the latter also has `evidence`."""
        from algaenv.runtimes.process.folders import FolderHands
        from algaenv.runtimes.process.processes import ProcessHands

        templates = self._cache / "postgres" if self._cache else None
        return {
            FOLDER: FolderHands(environment),
            PROCESS: ProcessHands(environment, templates),
        }
