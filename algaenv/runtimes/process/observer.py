"""Observes folders and processes: reads small files and /proc, writes nothing.

An observation takes about a millisecond. The processes of this user are searched for our marks only
when a record is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from algaenv.model.drift import Drift
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.resource import Absent, Observation, Present, Resource, spec_as
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.discovery import MarkedProcesses
from algaenv.runtimes.process.drivers.folders import Marker, folders_in, read_marker
from algaenv.runtimes.process.layout import Layout, content
from algaenv.runtimes.process.specs import FOLDER, PROCESS, FolderSpec, ProcessSpec
from algaenv.runtimes.process.supervisor.records import ServiceRecord
from algaenv.runtimes.services import file_drift, instant, reveal_all
from algaenv.system import processes


class ProcessObserver:
    """Observes one environment, whether or not its spec still exists."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._layout = Layout(environment.home)

    def observe(
        self,
        wanted: Sequence[Resource],
        *,
        thorough: bool = False,  # noqa: ARG002 - everything is cheap to look at
    ) -> Mapping[Address, Observation]:
        """What is there of `wanted`, and every other process and folder of this environment."""
        seen: dict[Address, Observation] = {each.address: Absent() for each in wanted}
        seen |= self._processes({it.address: it for it in wanted if it.address.kind == PROCESS})
        seen |= self._folders([each for each in wanted if each.address.kind == FOLDER])
        return seen

    def _processes(self, wanted: Mapping[Address, Resource]) -> Mapping[Address, Observation]:
        kept = discovery.read_records(self._environment)
        unseen = frozenset(discovery.hidden_services(self._environment))
        seen: dict[Address, Observation] = {
            address: _hidden(record)
            if address in unseen
            else self._recorded(address, record, wanted.get(address))
            for address, record in kept.items()
        }
        unknown = any(address not in kept for address in wanted)
        if unknown or discovery.has_lost_records(self._environment, kept):
            for address, found in discovery.find_marked(self._environment).items():
                if address not in kept:
                    seen[address] = _unrecorded(found)
        return seen

    def _recorded(
        self, address: Address, record: ServiceRecord, resource: Resource | None
    ) -> Present:
        running = discovery.is_running(record)
        child = record["child"]["pid"] if record["child"] else 0
        state = f"pid {child}" if running else f"not running: {discovery.exit_summary(record)}"
        note = f"{record['engine']}, {state}"
        drift = list(_drift(record, child)) if running else []
        if running and record["log"] != str(self._layout.log(address.name)):
            drift.append(Drift("it was started before the directory was moved", "log"))
        if running and resource is not None and resource.fingerprint == record["fingerprint"]:
            drift += self._files(address.name, spec_as(resource, ProcessSpec))
        supervisor = record["shim"]
        handle = f"{supervisor['pid']}:{supervisor['start']}" if supervisor else ""
        ended = None if running else record["ended_at"]
        return Present(
            record["fingerprint"],
            record["inputs"],
            tuple(drift),
            running,
            handle,
            note,
            since=instant(ended) if ended else "",
        )

    def _files(self, service: str, body: ProcessSpec) -> Iterator[Drift]:
        wanted = {name: text.encode() for name, text in reveal_all(body.files).items()}
        live: dict[str, tuple[bytes, float]] = {}
        for name in wanted:
            path = self._layout.etc(service) / name
            # Gone, or not to be read any more: what the service was started with is lost.
            with contextlib.suppress(OSError):
                if path.is_file():
                    live[name] = (path.read_bytes(), path.stat().st_mtime)
        return file_drift(wanted, live)

    def _folders(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        seen: dict[Address, Observation] = {}
        places = {_path(each): each.address for each in wanted}
        for path, address in places.items():
            if path.exists() or path.is_symlink():
                seen[address] = _folder(path, self._own_marker(path))
        for path in folders_in(self._layout):
            marker = self._own_marker(path)
            if path in places or marker is None:
                continue
            # Data of an earlier engine of the service: its successor has the address.
            taken = marker.address in seen or marker.address in places.values()
            address = Address(FOLDER, path.name) if taken else marker.address
            seen[address] = _folder(path, marker)
        return seen

    def _own_marker(self, path: Path) -> Marker | None:
        marker = None if path.is_symlink() else read_marker(path)
        return marker if marker and marker.environment == self._environment.id else None


def _path(resource: Resource) -> Path:
    if not isinstance(resource.body, FolderSpec):
        raise TypeError(resource.body)
    return resource.body.path


def _folder(path: Path, marker: Marker | None) -> Present:
    if marker is None:
        return Present(None, handle=str(path), note="not made by algaenv", retained=True)
    there = content(path).is_dir()
    drift = () if there else (Drift(f"{content(path)} is missing", "content"),)
    return Present(
        marker.fingerprint, marker.inputs, drift, handle=str(path), note=str(path), retained=True
    )


def _hidden(record: ServiceRecord) -> Present:
    """It runs, since its supervisor's lock is held, but cannot be seen from here."""
    note = f"{record['engine']}, out of sight: in another PID namespace"
    return Present(record["fingerprint"], record["inputs"], running=True, note=note)


def _drift(record: ServiceRecord, child: int) -> Iterator[Drift]:
    if processes.program_replaced(child):
        phrase = f"the program it was started from was replaced: {record['argv'][0]}"
        yield Drift(phrase, "program", record["argv"][0], "(replaced)")
    if record["folder"] and not content(Path(record["folder"])).is_dir():
        yield Drift(f"its folder is missing: {record['folder']}", "folder", record["folder"])


def _unrecorded(found: MarkedProcesses) -> Present:
    """Ours, but without a record; it will be started afresh."""
    first = (*found.supervisors, *found.others)[0]
    return Present(
        found.fingerprint,
        drift=(Drift("its record is gone", "record"),),
        running=bool(found.supervisors),
        handle=f"{first.pid}:{first.start}",
        note=f"found by its marks, pid {first.pid}",
    )
