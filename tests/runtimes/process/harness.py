"""One environment of processes: made with the runtime itself, and swept clean afterwards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from algaenv.model.intent import ExternalDatabase, Profile
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import Environment, Lock
from algaenv.model.resource import Present, Resource
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.binaries import cache_home, find
from algaenv.runtimes.process import discovery
from algaenv.runtimes.process.drivers.folders import FolderDriver
from algaenv.runtimes.process.drivers.processes import ProcessDriver
from algaenv.runtimes.process.layout import Layout, private_directory
from algaenv.runtimes.process.observer import ProcessObserver
from algaenv.runtimes.process.runtime import ProcessRuntime
from algaenv.runtimes.process.specs import ProcessSpec
from algaenv.runtimes.process.supervisor import records
from algaenv.runtimes.process.supervisor.records import ServiceRecord
from algaenv.spec.paths import profile
from algaenv.system.processes import Identity
from tests.runtimes.locks import make_lock

TIMEOUT = 20.0


def quiet(_: str) -> None:
    """Ignore a message."""


def until(what: str, holds: Callable[[], object], seconds: float = TIMEOUT) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for: {what}")
        time.sleep(0.005)


def shipped_lock(home: Path, *, store: str = "rclone", **changes: object) -> Lock:
    """A lock over the profiles this package ships."""
    chosen: dict[str, object] = {
        "runtime": "process",
        "store": profile(store),
        "redis": profile("valkey"),
        "database": profile("postgres-18"),
        **changes,
    }
    return make_lock(private_directory(home), **chosen)  # type: ignore[arg-type]


class Harness:
    """An environment; `lock` is None where a test makes its own resources."""

    def __init__(self, home: Path, lock: Lock | None = None) -> None:
        self.lock = lock
        self.steady = 1e9
        """Seconds a service must have run to be started again; by default none is."""
        self.environment = (
            lock.environment if lock else Environment(os.urandom(5).hex(), "test", home, home)
        )
        self.layout = Layout(private_directory(home))
        self.runtime = ProcessRuntime(os.environ, cache_home(os.environ))
        self.observer = ProcessObserver(self.environment)
        self.processes = ProcessDriver(self.environment, cache_home(os.environ) / "postgres")
        self.folders = FolderDriver(self.environment)

    def lowered(self) -> Lowered:
        assert self.lock
        return self.runtime.lower(self.lock, quiet)

    def wanted(self, *services: str) -> list[Resource]:
        """The folder and process of each service, in an order that can be walked."""
        found = [r for r in self.lowered().resources if not services or r.address.name in services]
        assert found
        return [self._with_steady(resource) for resource in found]

    def _with_steady(self, resource: Resource) -> Resource:
        if isinstance(resource.body, ProcessSpec):
            return replace(resource, body=replace(resource.body, steady=self.steady))
        return resource

    def up(self, *services: str) -> None:
        for resource in self.wanted(*services):
            self.create(resource)

    def create(self, resource: Resource) -> None:
        driver = self.folders if resource.address.kind == "folder" else self.processes
        driver.create(resource, quiet)

    def start(self, *argv: str, service: str = "redis", **changes: object) -> Resource:
        """Start any program as a service."""
        resource = self.resource(*argv, service=service, **changes)
        self.processes.create(resource, quiet)
        return resource

    def resource(self, *argv: str, service: str = "redis", **changes: object) -> Resource:
        body = ProcessSpec(
            engine="test",
            argv=argv,
            environment={"PATH": os.defpath},
            wanted_environment={},
            files={},
            ports={},
            folder=None,
            stop_signal="SIGTERM",
            grace=5.0,
        )
        body = replace(body, **changes)  # type: ignore[arg-type]
        address = Address("process", service)
        return Resource(address, Tier.SUBSTRATE, {"command": " ".join(argv)}, body)

    def python(self, code: str, service: str = "redis", **changes: object) -> Resource:
        return self.start(sys.executable, "-c", code, service=service, **changes)

    def record(self, service: str = "redis") -> ServiceRecord:
        kept = records.read(str(self.layout.record(service)))
        assert kept is not None
        return kept

    def supervisor(self, service: str = "redis") -> Identity:
        process = records.process_identity(self.record(service)["shim"])
        assert process
        return process

    def child(self, service: str = "redis") -> Identity:
        process = records.process_identity(self.record(service)["child"])
        assert process
        return process

    def seen(self, service: str = "redis", kind: str = "process") -> Present:
        found = self.observer.observe([])[Address(kind, service)]
        assert isinstance(found, Present)
        return found

    def log(self, service: str = "redis") -> str:
        try:
            return self.layout.log(service).read_text()
        except FileNotFoundError:
            return ""

    def diagnostics(self, service: str = "redis") -> tuple[str, ...] | None:
        return self.processes.diagnostics(Address("process", service))

    def delete(self, service: str = "redis") -> None:
        self.processes.delete(Address("process", service), Present(None), quiet)

    def alive(self) -> Mapping[Identity, Mapping[str, str]]:
        """Everything that carries this environment's mark."""
        return dict(records.marked_processes(self.environment.id))

    def sweep(self) -> None:
        for address in discovery.find_marked(self.environment):
            self.processes.delete(address, Present(None), quiet)
        assert not self.alive()


def has_minio() -> bool:
    return find(("minio",), os.environ) is not None


def external(url: str) -> ExternalDatabase:
    return ExternalDatabase(Secret(url))


def without_binary(one: Profile) -> Profile:
    return replace(one, binaries=("no-such-program",))
