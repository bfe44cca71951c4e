"""Driver of `process`: services, each under a supervisor that outlives this program.

Remains of a service are terminated before it is started, so every method may be repeated after a
crash at any point. No method waits for a service to answer: probes do that, while
`diagnostics` returns at once why a service has ended.
"""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import algaenv
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.plan import Blocked, Change
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import LogReader, OnProgress
from algaenv.runtimes.ports import PortHolder, find_port_holder
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.drivers import cluster
from algaenv.runtimes.process.drivers.cluster import Cluster
from algaenv.runtimes.process.drivers.lifecycle import start_service, terminate
from algaenv.runtimes.process.drivers.postgres import detect_postgres
from algaenv.runtimes.process.layout import (
    Layout,
    busy_error,
    chown_tree,
    content,
    disk_errors,
    private_directory,
    service_lock,
)
from algaenv.runtimes.process.specs import ProcessSpec
from algaenv.runtimes.process.supervisor import records
from algaenv.runtimes.process.supervisor.privileges import IsolationMode, isolation_for
from algaenv.runtimes.process.supervisor.records import ServiceRecord
from algaenv.runtimes.services import reveal_all
from algaenv.system import files
from algaenv.system.processes import Identity

_SPARE_SECONDS = 5.0
"""Seconds that a supervisor needs on top of the grace of its service."""
_GRACE_UNKNOWN = 30.0


class ProcessDriver:
    """Starts and stops services. `templates` is the directory of template clusters, or None."""

    def __init__(self, environment: Environment, templates: Path | None) -> None:
        self._environment = environment
        self._layout = Layout(environment.home)
        self._templates = templates

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Start the service.

        Raises Conflict (`shim-busy`, `port-taken`, …) before anything is touched.
        """
        body = resource.body
        if not isinstance(body, ProcessSpec):
            raise TypeError(body)
        with self._exclusive(resource.address, on_progress) as lock:
            _refuse_taken(resource.address, body.ports)
            self._write_files(resource.address.name, body)
            isolation = self._prepare(body, on_progress)
            try:
                start_service(self._environment, resource, isolation, lock)
            except Failed:
                self._terminate_all(resource.address, on_progress)
                raise

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Stop it if it runs, and start it as it is wanted."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Stop it and remove its generated files; its folder and its log stay."""
        record = self._record(address)
        with self._exclusive(address, on_progress):
            if record and record["folder"]:
                cluster.forget_access(Path(record["folder"]))
            _remove_tree(self._layout.etc(address.name))
            self._layout.record(address.name).unlink(missing_ok=True)
            # Last, and while it is held: a process that waits for it then opens a new file.
            self._layout.lock(address.name).unlink(missing_ok=True)

    def diagnostics(self, address: Address) -> tuple[str, ...] | None:
        """None while the service runs; else how it ended and its last log lines."""
        record = self._record(address)
        if record is None:
            lost = discovery.find_marked(self._environment).get(address)
            return None if lost else ("it was not started",)
        if record["state"] == "running" and discovery.supervisor_of(record):
            return None  # If it has just died, its supervisor is about to record how.
        return (discovery.exit_summary(record), *records.log_tail(record["log"]))

    def log_location(self, address: Address) -> str:
        """The file."""
        return str(self._layout.log(address.name))

    def log_reader(self, address: Address) -> LogReader:
        """Reads the file, which stays after a `down`."""
        from algaenv.runtimes.process.logs import ProcessLogReader

        return ProcessLogReader(self._layout.log(address.name))

    def _record(self, address: Address) -> ServiceRecord | None:
        record = records.read(str(self._layout.record(address.name)))
        return record if record and record["environment"] == self._environment.id else None

    @contextlib.contextmanager
    def _exclusive(self, address: Address, on_progress: OnProgress) -> Iterator[int]:
        """Terminate the service's processes, then hold its lock; yields the descriptor.

        Raises Conflict (`shim-busy`) when its supervisor cannot be seen, before anything is ended.
        """
        with disk_errors(self._environment.home):
            if address in discovery.hidden_services(self._environment):
                raise busy_error(address)
            self._terminate_all(address, on_progress)
            with service_lock(self._layout.lock(address.name), address) as lock:
                yield lock

    def _terminate_all(self, address: Address, on_progress: OnProgress) -> None:
        """Terminate the recorded and the marked processes: supervisors first, with a grace."""
        record = self._record(address)
        found = discovery.find_marked(self._environment).get(
            address, discovery.MarkedProcesses((), (), "")
        )
        supervisors, others = set(found.supervisors), set(found.others)
        grace = _GRACE_UNKNOWN
        if record:
            grace = record["grace"]
            supervisors |= _as_set(discovery.supervisor_of(record))
            others |= _as_set(discovery.child_of(record))
        if supervisors:
            on_progress("stopping")
        for process in supervisors:
            terminate(process, grace=grace + _SPARE_SECONDS)
        for process in others:
            # Without a supervisor there is no orderly stop.
            terminate(process, grace=0)

    def _write_files(self, service: str, body: ProcessSpec) -> None:
        etc = self._layout.etc(service)
        _remove_tree(etc)
        private_directory(etc)
        for name, text in reveal_all(body.files).items():
            files.write_atomic(etc / name, text.encode())
            (etc / name).chmod(0o400)

    def _prepare(self, body: ProcessSpec, on_progress: OnProgress) -> IsolationMode:
        if not (body.access and body.folder):
            if body.folder and not os.geteuid():  # Without capabilities it must own its files.
                chown_tree(content(body.folder), os.geteuid())
            return isolation_for(_needed(body, self._layout))
        postgres = detect_postgres(Path(body.argv[0]))
        Cluster(postgres, body.folder, self._templates).prepare(body.access, on_progress)
        return postgres.isolation


def port_obstacles(environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
    """Services to be started whose ports others hold; ports of this environment are freed."""
    found = []
    for change in changes:
        body = change.resource.body if change.resource else None
        if not isinstance(body, ProcessSpec):
            continue
        for name, port in body.ports.items():
            holder = find_port_holder(port)
            if holder is not None and holder.environment != environment.id:
                problem = _port_taken(change.address, name, holder)
                found.append(Blocked(change.address, problem))
    return tuple(found)


def _needed(body: ProcessSpec, layout: Layout) -> list[str]:
    """Paths that a service must reach; a Python service also needs its import directories."""
    places = [body.argv[0], *map(str, (body.folder or "", layout.etc_all, body.directory or ""))]
    if body.engine == "bundled":
        places += [sys.prefix, sys.base_prefix, str(Path(algaenv.__file__).parent), *sys.path]
    return [place for place in places if place]


def _refuse_taken(address: Address, ports: Mapping[str, int]) -> None:
    """Raise one Conflict for all taken ports."""
    problems = []
    for name, port in ports.items():
        holder = find_port_holder(port)
        if holder:
            problems.append(_port_taken(address, name, holder))
    if problems:
        raise Conflict(*problems)


def _port_taken(address: Address, name: str, holder: PortHolder) -> Problem:
    what = address.name if name == "main" else f"{address.name}.{name}"
    other = "choose another port in the spec: `auto` takes a free one, `ports: auto` for all"
    remedy = holder.remedy
    return Problem(
        "port-taken",
        f"cannot start {address}: port {holder.port} ({what}) is held by {holder}",
        f"{remedy}, or {other}" if remedy else other,
    )


def _remove_tree(path: Path) -> None:
    """Remove a directory that may hold secrets. Raises OSError when something remains."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _as_set(process: Identity | None) -> set[Identity]:
    return {process} if process else set()
