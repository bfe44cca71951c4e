"""Finds what exists of an environment: live processes, and files that a killed run left.

Processes are found by their records. A record can get lost; its processes then still carry the
marks that they were started with. Marks are searched in all of /proc, which is slow, so only when a
record is missing.

Temporary files, locks and settings without a record are removed by their names: nothing refers to
them, so no plan removes them. Some hold secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import AlgaenvError, Failed, Problem, left_behind
from algaenv.runtimes.process.layout import TEMPORARY_PREFIX, Layout, service_lock
from algaenv.runtimes.process.specs import PROCESS
from algaenv.runtimes.process.supervisor import records
from algaenv.runtimes.process.supervisor.records import ServiceRecord
from algaenv.system import processes
from algaenv.system.files import TEMPORARY_SUFFIX
from algaenv.system.locks import is_locked
from algaenv.system.processes import Identity, is_alive

_RECORD: Final = re.compile(
    rf"(?P<service>[a-z0-9-]+)\.json(\.lock|\.\d+\.new|\.{TEMPORARY_SUFFIX})?"
)
"""`.new` is what earlier versions wrote aside."""


@dataclass(frozen=True, slots=True)
class MarkedProcesses:
    """Processes of one service that carry our marks."""

    supervisors: tuple[Identity, ...]
    others: tuple[Identity, ...]
    fingerprint: str


def read_records(environment: Environment) -> Mapping[Address, ServiceRecord]:
    """The records of this environment's services."""
    layout = Layout(environment.home)
    kept: dict[Address, ServiceRecord] = {}
    for path in layout.run.glob("*.json"):
        record = records.read(str(path))
        address = Address(PROCESS, path.stem)
        if record and record["environment"] == environment.id and record["address"] == str(address):
            kept[address] = record
    return kept


def has_lost_records(environment: Environment, kept: Mapping[Address, ServiceRecord]) -> bool:
    """Whether a record is missing: there is a lock without one, or no directory at all."""
    layout = Layout(environment.home)
    if not layout.run.is_dir():
        return layout.home.is_dir()
    locks = (path.name.partition(".")[0] for path in layout.run.glob("*.json.lock"))
    return any(Address(PROCESS, service) not in kept for service in locks)


def hidden_services(environment: Environment) -> tuple[Address, ...]:
    """Services whose supervisor cannot be seen, since it runs in another PID namespace.

    Tries one lock per service; records and marks are read only where a lock is held. Raises
    OSError.
    """
    layout = Layout(environment.home)
    names = sorted(path.name.partition(".")[0] for path in layout.run.glob("*.json.lock"))
    held = [name for name in names if is_locked(layout.lock(name))]
    if not held:
        return ()
    kept = read_records(environment)
    unseen = [
        address
        for address in (Address(PROCESS, name) for name in held)
        if not (address in kept and supervisor_of(kept[address]))
    ]
    marked = find_marked(environment) if unseen else {}
    return tuple(
        address
        for address in unseen
        # Tried again: the supervisor may have ended in the meantime.
        if address not in marked and is_locked(layout.lock(address.name))
    )


def supervisor_of(record: ServiceRecord) -> Identity | None:
    """The supervisor of a record, if it is alive."""
    return _if_alive(record, records.process_identity(record["shim"]))


def child_of(record: ServiceRecord) -> Identity | None:
    """The service's process of a record, if it is alive."""
    return _if_alive(record, records.process_identity(record["child"]))


def is_running(record: ServiceRecord) -> bool:
    """The service and its supervisor are alive."""
    return bool(record["state"] == "running" and supervisor_of(record) and child_of(record))


def exit_summary(record: ServiceRecord) -> str:
    """A phrase about how a service ended that is not running."""
    code, ran = record["exit_code"], record["ran"]
    if record["state"] in ("exited", "stopped", "waiting") and code is not None:
        again = ", and will be started again" if record["state"] == "waiting" else ""
        return f"{records.describe_exit(code)} after {ran or 0.0:.1f} s{again}"
    if record["state"] == "stopping" and supervisor_of(record):
        return "it is being stopped"
    if record["state"] == "new":
        return "it was not started: the run that was to start it died"
    if record["boot"] != processes.boot_id():
        return "it ended when the machine was shut down"
    return "it was killed together with its shim"


def find_marked(environment: Environment) -> Mapping[Address, MarkedProcesses]:
    """Every live process that carries this environment's marks."""
    found: dict[Address, MarkedProcesses] = {}
    for process, found_marks in records.marked_processes(environment.id):
        spec = found_marks.get(records.SPEC_MARK, "")
        if spec != str(environment.spec) and os.path.exists(spec):  # noqa: PTH110
            continue  # Another checkout at the path that this one was moved away from.
        address = Address.parse(found_marks[records.ADDRESS_MARK])
        known = found.get(
            address, MarkedProcesses((), (), found_marks.get(records.FINGERPRINT_MARK, ""))
        )
        if records.SUPERVISOR_MARK in found_marks:
            known = MarkedProcesses((*known.supervisors, process), known.others, known.fingerprint)
        else:
            known = MarkedProcesses(known.supervisors, (*known.others, process), known.fingerprint)
        found[address] = known
    return found


def _if_alive(record: ServiceRecord, process: Identity | None) -> Identity | None:
    if process and is_alive(process) and record["boot"] == processes.boot_id():
        return process
    return None


def remove_leftovers(environment: Environment, *, data: bool = False) -> None:
    """Remove leftovers; files of an existing or locked service stay.

    With `data`, unreadable records are removed too. The caller holds the environment's lock, so no
    other run starts a service meanwhile. Raises Failed (`left-behind`) with everything that could
    not be removed.
    """
    layout = Layout(environment.home)
    problems: list[Problem] = []
    for service in sorted(_without_record(environment, layout)):
        try:
            problems += _remove_files(layout, service, records=data)
        except AlgaenvError:
            continue  # Its supervisor runs in another PID namespace.
        except OSError as error:
            problems.append(left_behind(layout.run / service, error))
    for path in _named(layout.data, TEMPORARY_PREFIX):
        problems += _remove(path)
    if problems:
        raise Failed(*problems)


def _without_record(environment: Environment, layout: Layout) -> set[str]:
    """Services that have leftovers but no record and no process."""
    names = {path.name for path in _named(layout.etc_all, "")}
    for path in _named(layout.run, ""):
        if found := _RECORD.fullmatch(path.name):
            names.add(found["service"])
    if not names:
        return names
    names -= {address.name for address in read_records(environment)}
    marked = find_marked(environment) if names else {}
    return {name for name in names if Address(PROCESS, name) not in marked}


def _remove_files(layout: Layout, service: str, *, records: bool) -> list[Problem]:
    """Raises Conflict when its lock is held, and OSError when it cannot be taken."""
    lock = layout.lock(service)
    with service_lock(lock, Address(PROCESS, service), seconds=0):
        problems = _remove(layout.etc(service))
        for path in _named(layout.run, f"{service}.json."):
            if path != lock:
                problems += _remove(path)
        if records:
            problems += _remove(layout.record(service))
        return problems + _remove(lock)


def _named(directory: Path, prefix: str) -> Iterator[Path]:
    if directory.is_symlink() or not directory.is_dir():
        return
    yield from sorted(path for path in directory.iterdir() if path.name.startswith(prefix))


def _remove(path: Path) -> list[Problem]:
    import shutil

    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return [left_behind(path, error)]
    return []
