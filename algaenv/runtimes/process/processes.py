"""Hands for `process`: services, each under a shim that outlives this program.

Whatever is left of a service is ended before it is started, so every method may be repeated after
a crash at any point. Nothing here waits for a service to answer: that is asked by probes, while
`evidence` tells at once when there is nothing left to wait for.
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
from algaenv.model.address import Address
from algaenv.model.lock import Environment
from algaenv.model.plan import Blocked, Change
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.ports import Holder, holder_of
from algaenv.runtimes.process import access, living, logfile, records, service_lock
from algaenv.runtimes.process.bodies import ProcessBody
from algaenv.runtimes.process.cluster import Cluster
from algaenv.runtimes.process.disk import on_disk
from algaenv.runtimes.process.ending import end
from algaenv.runtimes.process.layout import Layout, content, give, private, write_private
from algaenv.runtimes.process.postgres import examine
from algaenv.runtimes.process.privileges import Way, way_for
from algaenv.runtimes.process.procfs import Identity
from algaenv.runtimes.process.records import Record
from algaenv.runtimes.process.starting import start
from algaenv.runtimes.services import revealed

_SPARE_SECONDS = 5.0
"""What a shim needs on top of the grace of its service."""
_GRACE_UNKNOWN = 30.0


class ProcessHands:
    """Starts and stops services. `templates` is where clusters to copy are kept, if anywhere."""

    def __init__(self, environment: Environment, templates: Path | None) -> None:
        self._environment = environment
        self._layout = Layout(environment.home)
        self._templates = templates

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Start the service.

        Raises Conflict (`shim-busy`, `port-taken`, …) before anything is touched.
        """
        body = resource.body
        if not isinstance(body, ProcessBody):
            raise TypeError(body)
        with self._alone(resource.address, on_progress) as lock:
            _refuse_taken(resource.address, body.ports)
            self._write_files(resource.address.name, body)
            way = self._prepare(body, on_progress)
            try:
                start(self._environment, resource, way, lock)
            except Failed:
                self._end_all(resource.address, on_progress)
                raise

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Stop it if it runs, and start it as it is wanted."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Stop it, and remove what was generated for it; its folder and its log stay."""
        record = self._record(address)
        with self._alone(address, on_progress):
            if record and record["folder"]:
                access.forget(Path(record["folder"]))
            _remove_tree(self._layout.etc(address.name))
            self._layout.record(address.name).unlink(missing_ok=True)
            # Last, and while it is held: whoever waits for it looks for a new one then.
            self._layout.lock(address.name).unlink(missing_ok=True)

    def diagnostics(self, address: Address) -> tuple[str, ...] | None:
        """None while the service runs; else how it ended, and the last lines it said."""
        record = self._record(address)
        if record is None:
            lost = living.by_mark(self._environment).get(address)
            return None if lost else ("it was not started",)
        if record["state"] == "running" and living.shim_of(record):
            return None  # If it has just died, its shim is about to write down how.
        return (living.ending_of(record), *logfile.tail(record["log"]))

    def log_location(self, address: Address) -> str:
        """The file."""
        return str(self._layout.log(address.name))

    def _record(self, address: Address) -> Record | None:
        record = records.read(str(self._layout.record(address.name)))
        return record if record and record["environment"] == self._environment.id else None

    @contextlib.contextmanager
    def _alone(self, address: Address, on_progress: OnProgress) -> Iterator[int]:
        """Hold the lock of a service of which nothing runs any more; yields its descriptor.

        What can be seen of it is ended first. Raises Conflict (`shim-busy`) when a shim that cannot
        be seen stands over it, before anything is ended.
        """
        with on_disk(self._environment.home):
            if address in living.out_of_sight(self._environment):
                raise service_lock.busy(address)
            self._end_all(address, on_progress)
            with service_lock.holding(self._layout.lock(address.name), address) as lock:
                yield lock

    def _end_all(self, address: Address, on_progress: OnProgress) -> None:
        """End what the record names and what carries our marks: shims first, gently."""
        record = self._record(address)
        found = living.by_mark(self._environment).get(address, living.Found((), (), ""))
        shims, others = set(found.shims), set(found.others)
        grace = _GRACE_UNKNOWN
        if record:
            grace = record["grace"]
            shims |= _some(living.shim_of(record))
            others |= _some(living.child_of(record))
        if shims:
            on_progress("stopping")
        for process in shims:
            end(process, gently=grace + _SPARE_SECONDS)
        for process in others:
            # It lost its shim, and with it the right to an orderly end.
            end(process, gently=0)

    def _write_files(self, service: str, body: ProcessBody) -> None:
        etc = self._layout.etc(service)
        _remove_tree(etc)
        private(etc)
        for name, text in revealed(body.files).items():
            write_private(etc / name, text)
            (etc / name).chmod(0o400)

    def _prepare(self, body: ProcessBody, on_progress: OnProgress) -> Way:
        if not (body.access and body.folder):
            if body.folder and not os.geteuid():  # Without powers it works on what is its own.
                give(content(body.folder), os.geteuid())
            return way_for(_needed(body, self._layout))
        postgres = examine(Path(body.argv[0]))
        Cluster(postgres, body.folder, self._templates).prepare(body.access, on_progress)
        return postgres.way


def taken_ports(environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
    """The services to be started whose ports others hold; what this environment holds is freed."""
    found = []
    for change in changes:
        body = change.resource.body if change.resource else None
        if not isinstance(body, ProcessBody):
            continue
        for name, port in body.ports.items():
            holder = holder_of(port)
            if holder is not None and holder.environment != environment.id:
                problem = _port_taken(change.address, name, holder)
                found.append(Blocked(change.address, problem))
    return tuple(found)


def _needed(body: ProcessBody, layout: Layout) -> list[str]:
    """What a service has to reach, for what runs in this interpreter the directories it imports
    from."""
    places = [body.argv[0], str(body.folder or ""), str(layout.etc_all)]
    if body.engine == "bundled":
        places += [sys.prefix, sys.base_prefix, str(Path(algaenv.__file__).parent), *sys.path]
    return [place for place in places if place]


def _refuse_taken(address: Address, ports: Mapping[str, int]) -> None:
    """Every port that is taken, in one Conflict."""
    problems = []
    for name, port in ports.items():
        holder = holder_of(port)
        if holder:
            problems.append(_port_taken(address, name, holder))
    if problems:
        raise Conflict(*problems)


def _port_taken(address: Address, name: str, holder: Holder) -> Problem:
    what = address.name if name == "main" else f"{address.name}.{name}"
    other = "choose another port in the spec: `auto` takes a free one, `ports: auto` for all"
    way_out = holder.way_out
    return Problem(
        "port-taken",
        f"cannot start {address}: port {holder.port} ({what}) is held by {holder}",
        f"{way_out}, or {other}" if way_out else other,
    )


def _remove_tree(path: Path) -> None:
    """Raises OSError when something of it stays: it may hold secrets."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _some(process: Identity | None) -> set[Identity]:
    return {process} if process else set()
