"""Driver of `folder`: the directories that hold the data of services, and outlive them.

A folder is ours when it carries our marker. Only our folders directly below the environment's
`data/` are ever removed.
"""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Inputs, Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.process.discovery import child_of, hidden_services
from algaenv.runtimes.process.layout import (
    TEMPORARY_PREFIX,
    Layout,
    busy_error,
    content,
    disk_errors,
    private_directory,
    service_lock,
)
from algaenv.runtimes.process.specs import PROCESS, FolderSpec
from algaenv.runtimes.process.supervisor import records
from algaenv.system import files

MARKER = ".algaenv.json"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker that is written into a folder when it is created."""

    environment: str
    address: Address
    fingerprint: str
    inputs: Inputs


def read_marker(folder: Path) -> Marker | None:
    """None for a directory without a valid marker."""
    try:
        kept = json.loads((folder / MARKER).read_bytes())
        return Marker(
            environment=kept["environment"],
            address=Address.parse(kept["address"]),
            fingerprint=kept["fingerprint"],
            inputs=dict(kept["inputs"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def folders_in(layout: Layout) -> Iterator[Path]:
    """Everything below `data/` that may be a folder, by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(layout.data) if entry.is_dir())
    except OSError:
        return
    yield from (layout.folder(name) for name in names if not name.startswith(TEMPORARY_PREFIX))


class FolderDriver:
    """Creates and removes folders."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._layout = Layout(environment.home)

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Create a folder with its marker atomically. Raises Conflict for a foreign directory."""
        if not isinstance(resource.body, FolderSpec):
            raise TypeError(resource.body)
        path = resource.body.path
        with disk_errors(path):
            self._refuse_hidden(path)
            if self._owns(path):
                self._mark(path, resource)
                private_directory(content(path))
                return
            self._sweep()
            fresh = private_directory(self._layout.folder(_temporary_name()))
            private_directory(content(fresh))
            self._mark(fresh, resource)
            try:
                fresh.rename(path)
            except OSError as error:
                shutil.rmtree(fresh)
                if not (path.exists() or path.is_symlink()):
                    raise
                raise Conflict(_not_ours("make", path)) from error

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Restore marker and content directory."""
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove a folder and its content; `seen.handle` is its path."""
        path = Path(seen.handle)
        if not path.exists() and not path.is_symlink():
            return
        self._refuse_foreign(path)
        self._refuse_running(path)
        with disk_errors(path), self._held(path) as lock:
            gone = self._layout.folder(_temporary_name())
            path.rename(gone)
            shutil.rmtree(gone)
            self._sweep()
            lock.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _held(self, path: Path) -> Iterator[Path]:
        """Hold the lock of the service of `path`, which may run in another PID namespace."""
        self._refuse_hidden(path)
        address = Address(PROCESS, _service_of(path))
        lock = self._layout.lock(address.name)
        with service_lock(lock, address):
            yield lock

    def _refuse_hidden(self, path: Path) -> None:
        address = Address(PROCESS, _service_of(path))
        if address in hidden_services(self._environment):
            raise busy_error(address)

    def _mark(self, path: Path, resource: Resource) -> None:
        marker = {
            "environment": self._environment.id,
            "address": str(resource.address),
            "fingerprint": resource.fingerprint,
            "inputs": dict(resource.inputs),
        }
        files.write_atomic(path / MARKER, json.dumps(marker, indent=1).encode())

    def _owns(self, path: Path) -> bool:
        marker = None if path.is_symlink() else read_marker(path)
        return marker is not None and marker.environment == self._environment.id

    def _refuse_foreign(self, path: Path) -> None:
        inside = os.path.realpath(path.parent) == os.path.realpath(self._layout.data)
        if not inside or not self._owns(path):
            raise Conflict(_not_ours("remove", path))

    def _refuse_running(self, path: Path) -> None:
        service = _service_of(path)
        record = records.read(str(self._layout.record(service)))
        child = child_of(record) if record and record["folder"] == str(path) else None
        if child:
            raise Conflict(
                Problem(
                    "folder-in-use",
                    f"cannot remove {path}: {PROCESS}/{service} (pid {child.pid}) works in it",
                    "stop the service first",
                )
            )

    def _sweep(self) -> None:
        """Remove temporary directories of runs that died; another thread of ours may be active."""
        for entry in private_directory(self._layout.data).glob(f"{TEMPORARY_PREFIX}*"):
            if not entry.name.startswith(f"{TEMPORARY_PREFIX}{os.getpid()}-"):
                shutil.rmtree(entry, ignore_errors=True)


def _service_of(path: Path) -> str:
    """The service of a folder `<service>-<engine>`."""
    return path.name.partition("-")[0]


def _not_ours(verb: str, path: Path) -> Problem:
    return Problem(
        "not-ours",
        f"cannot {verb} {path}: what is there carries no mark of this environment",
        "see what it holds, and move it away by hand",
    )


def _temporary_name() -> str:
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_numbers)}"
