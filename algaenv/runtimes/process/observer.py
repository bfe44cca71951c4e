"""Observes folders and processes: reads small files and /proc, writes nothing.

An observation takes about a millisecond. The processes of this user are searched for our marks only
when a record is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.resource import Absent, Observation, Present, Resource
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.discovery import MarkedProcesses
from algaenv.runtimes.process.drivers.folders import Marker, folders_in, read_marker
from algaenv.runtimes.process.layout import Layout, content
from algaenv.runtimes.process.specs import FOLDER, PROCESS, FolderSpec
from algaenv.runtimes.process.supervisor.records import ServiceRecord
from algaenv.system import processes


class ProcessObserver:
    """Observes one environment, whether or not its spec still exists."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._layout = Layout(environment.home)

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        """What is there of `wanted`, and every other process and folder of this environment."""
        seen: dict[Address, Observation] = {each.address: Absent() for each in wanted}
        seen |= self._processes([each.address for each in wanted if each.address.kind == PROCESS])
        seen |= self._folders([each for each in wanted if each.address.kind == FOLDER])
        return seen

    def _processes(self, wanted: Sequence[Address]) -> Mapping[Address, Observation]:
        kept = discovery.read_records(self._environment)
        unseen = frozenset(discovery.hidden_services(self._environment))
        seen: dict[Address, Observation] = {
            address: _hidden(record) if address in unseen else self._recorded(address, record)
            for address, record in kept.items()
        }
        unknown = any(address not in kept for address in wanted)
        if unknown or discovery.has_lost_records(self._environment, kept):
            for address, found in discovery.find_marked(self._environment).items():
                if address not in kept:
                    seen[address] = _unrecorded(found)
        return seen

    def _recorded(self, address: Address, record: ServiceRecord) -> Present:
        running = discovery.is_running(record)
        child = record["child"]["pid"] if record["child"] else 0
        state = f"pid {child}" if running else f"not running: {discovery.exit_summary(record)}"
        note = f"{record['engine']}, {state}"
        drift = list(_drift(record, child)) if running else []
        if running and record["log"] != str(self._layout.log(address.name)):
            drift.append("it was started before the directory was moved")
        supervisor = record["shim"]
        handle = f"{supervisor['pid']}:{supervisor['start']}" if supervisor else ""
        return Present(record["fingerprint"], record["inputs"], tuple(drift), running, handle, note)

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
    drift = () if content(path).is_dir() else (f"{content(path)} is missing",)
    return Present(
        marker.fingerprint, marker.inputs, drift, handle=str(path), note=str(path), retained=True
    )


def _hidden(record: ServiceRecord) -> Present:
    """It runs, since its supervisor's lock is held, but cannot be seen from here."""
    note = f"{record['engine']}, out of sight: in another PID namespace"
    return Present(record["fingerprint"], record["inputs"], running=True, note=note)


def _drift(record: ServiceRecord, child: int) -> Iterator[str]:
    if processes.program_replaced(child):
        yield f"the program it was started from was replaced: {record['argv'][0]}"
    if record["folder"] and not content(Path(record["folder"])).is_dir():
        yield f"its folder is missing: {record['folder']}"


def _unrecorded(found: MarkedProcesses) -> Present:
    """Ours, but without a record; it will be started afresh."""
    first = (*found.supervisors, *found.others)[0]
    return Present(
        found.fingerprint,
        drift=("its record is gone",),
        running=bool(found.supervisors),
        handle=f"{first.pid}:{first.start}",
        note=f"found by its marks, pid {first.pid}",
    )
