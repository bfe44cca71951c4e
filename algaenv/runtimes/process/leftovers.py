"""Removes files that a killed run has left behind, by their names.

Temporary files, locks and settings without a record: nothing refers to them, so no plan removes
them. Some hold secrets.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from algaenv.model.address import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import AlgaenvError, Failed, Problem, left_behind
from algaenv.runtimes.process import discovery, service_lock
from algaenv.runtimes.process.drivers.folders import TEMPORARY_PREFIX
from algaenv.runtimes.process.layout import Layout
from algaenv.runtimes.process.specs import PROCESS
from algaenv.system.files import TEMPORARY_SUFFIX

_RECORD: Final = re.compile(
    rf"(?P<service>[a-z0-9-]+)\.json(\.lock|\.\d+\.new|\.{TEMPORARY_SUFFIX})?"
)
"""`.new` is what earlier versions wrote aside."""


def sweep(environment: Environment, *, data: bool = False) -> None:
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
    names -= {address.name for address in discovery.read_records(environment)}
    marked = discovery.find_marked(environment) if names else {}
    return {name for name in names if Address(PROCESS, name) not in marked}


def _remove_files(layout: Layout, service: str, *, records: bool) -> list[Problem]:
    """Raises Conflict when its lock is held, and OSError when it cannot be taken."""
    lock = layout.lock(service)
    with service_lock.hold(lock, Address(PROCESS, service), seconds=0):
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
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return [left_behind(path, error)]
    return []
