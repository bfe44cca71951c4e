"""A runtime and a content host in memory: everything that `up` makes is an entry of a dictionary.

It shows what a runtime consists of: `lower`, an observer, and a driver a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest
from algaenv.model.content import ContentIds
from algaenv.model.kind import CONTENT_SERVICES, FOLDER, KINDS, PROCESS, Address, Tier, kind_of
from algaenv.model.lock import Environment, Lock
from algaenv.model.pins import ServicePin, asked_of
from algaenv.model.plan import Blocked, Change
from algaenv.model.problem import AlgaenvError, Problem, Unavailable
from algaenv.model.resource import Absent, Observation, Present, Resource, ServiceEngine
from algaenv.plan.desired import predicted_ids
from algaenv.reconcile.protocols import (
    ClientVariables,
    FetchedBundle,
    Lowered,
    OnProgress,
    ServiceProgram,
)
from algaenv.runtimes.services import probes

NEEDS = {"runner": ("store", "redis"), "gateway": ("redis", "database")}


class World:
    """All that exists. `calls` are the changes; calls in `failures` raise instead."""

    def __init__(self) -> None:
        self.there: dict[Address, Present] = {}
        self.calls: list[str] = []
        self.version = "1"
        """Of every service."""
        self.failures: dict[str, AlgaenvError] = {}
        self.before: Callable[[str], None] = lambda _call: None

    def begin(self, call: str) -> None:
        """Raise the failure that a test has set for this call."""
        self.before(call)
        if call in self.failures:
            raise self.failures[call]

    def observe(self, wanted: Sequence[Resource], tier: Tier) -> Mapping[Address, Observation]:
        """What is there of one tier, and what is missing of `wanted`."""
        there = {at: it for at, it in self.there.items() if kind_of(at).tier is tier}
        return {it.address: Absent() for it in wanted} | there

    def stop(self, service: str) -> None:
        """Stop a service."""
        at = PROCESS.address(service)
        self.there[at] = replace(self.there[at], running=False)


class MemoryDriver:
    """Creates, updates and deletes entries of any kind."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        self._put(f"create {resource.address}", resource)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        self._put(f"update {resource.address}", resource)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        self._world.begin(f"delete {address}")
        self._world.calls.append(f"delete {address}")
        self._world.there.pop(address, None)

    def _put(self, call: str, resource: Resource) -> None:
        self._world.begin(call)
        self._world.calls.append(call)
        kind = kind_of(resource.address)
        self._world.there[resource.address] = Present(
            recorded=resource.fingerprint,
            inputs=resource.inputs,
            running=True if kind.runs else None,
            note="" if kind.runs else f"change {len(self._world.calls):04}",
            retained=resource.retained,
        )


class MemoryRuntime:
    """Services as entries: a folder for each that keeps data, and a process."""

    name = "process"

    def __init__(self, world: World) -> None:
        self.world = world

    def lower(self, lock: Lock, on_progress: OnProgress) -> Lowered:
        found = probes(lock)
        hosts = {str(name): PROCESS.address(name) for name in found}
        folders = [_folder(name) for name in hosts if name in CONTENT_SERVICES]
        services = [
            Resource(
                at,
                Tier.SUBSTRATE,
                {"service": name},
                None,
                needs=(FOLDER.address(name), *(hosts[it] for it in NEEDS.get(name, ()))),
                probe=probe,
                replaced=True,
            )
            for (name, at), probe in zip(hosts.items(), found.values(), strict=True)
        ]
        engines = tuple(ServiceEngine(name, "memory", "1", "this test") for name in hosts)
        return Lowered((*folders, *services), hosts, engines)

    def pins(self, lock: Lock) -> Sequence[ServicePin]:
        asked = asked_of(lock.intent, self.name)
        told = ("memory", self.world.version, "program", "")
        return [ServicePin(self.name, "linux/test", it, text, *told) for it, text in asked.items()]

    def obstacles(self, environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
        return ()

    def observer(self, environment: Environment) -> MemoryRuntime:
        return self

    def observe(
        self, wanted: Sequence[Resource], *, thorough: bool = False
    ) -> Mapping[Address, Observation]:
        self.world.begin("observe services")
        return self.world.observe(wanted, Tier.SUBSTRATE)

    def program(
        self, service: Resource, words: Sequence[str], clients: ClientVariables, *, tty: bool
    ) -> ServiceProgram:
        return ServiceProgram((service.address.name, *words), clients("memory", {"main": 1}))

    def drivers(self, environment: Environment) -> Mapping[str, MemoryDriver]:
        return {it.name: MemoryDriver(self.world) for it in (FOLDER, PROCESS)}


class MemoryContent:
    """The content of the hosts; it can be read while they run."""

    def __init__(self, world: World, ids: ContentIds | None = None) -> None:
        self.world = world
        self.ids = ids or ContentIds("", "", {})

    def snapshot(self, lock: Lock) -> MemoryContent:
        for name in CONTENT_SERVICES:
            host = self.world.there.get(PROCESS.address(name))
            if host is None or not host.running:
                raise Unavailable(Problem("host-silent", f"{name} does not answer"))
        self.world.begin("read content")
        return MemoryContent(self.world, predicted_ids(lock))

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        return self.world.observe(wanted, Tier.CONTENT)

    def blockers(self, wanted: Sequence[Resource]) -> Mapping[Address, Problem]:
        return {}

    def drivers(self) -> Mapping[str, MemoryDriver]:
        content = (it.name for it in KINDS.values() if it.tier is Tier.CONTENT)
        return dict.fromkeys(content, MemoryDriver(self.world))

    def fetch(self, handle: str, directory: Path) -> FetchedBundle:
        self.world.begin("fetch")
        manifest = Manifest("hello", "Example", "1.0.0", "wasm-js@1")
        return FetchedBundle(directory / "archive", Digest("0" * 64), manifest, None)


def _folder(name: str) -> Resource:
    return Resource(FOLDER.address(name), Tier.SUBSTRATE, {"of": name}, None, retained=True)
