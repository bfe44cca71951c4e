"""The runtimes that must behave alike, each with a way to meddle with what it has made.

A runtime joins by one function that yields its `Case`, and by its name in `CASES`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from algaenv.drivers.prober import ServiceProber
from algaenv.model.kind import Address
from algaenv.model.lock import Environment, Lock
from algaenv.model.probe import Never, ProbeResult, Yes
from algaenv.model.resource import Absent, Observation, Present, Resource
from algaenv.reconcile.protocols import Runtime
from algaenv.spec.paths import profile
from tests.runtimes.locks import make_lock

TIMEOUT = 45.0
_MAKING = ("network", "volume", "folder", "image", "container", "process")


def quiet(_: str) -> None:
    """Ignore a message."""


def until(what: str, holds: Callable[[], object], seconds: float = TIMEOUT) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for: {what}")
        time.sleep(0.01)


@dataclass(frozen=True)
class Case:
    """A runtime; `running` is its kind of what runs, `kept` its kind of what holds data."""

    runtime: Runtime
    running: str
    kept: str
    stop: Callable[[Present], None]
    """Stops something behind the runtime's back, and lets it end in its own time."""


@contextmanager
def docker_case() -> Iterator[Case]:
    from algaenv.runtimes.docker.engine import NoEngine, probe_engine
    from algaenv.runtimes.docker.runtime import DockerRuntime

    found = probe_engine(os.environ)
    if isinstance(found, NoEngine):
        pytest.skip(f"needs a Docker engine: {found.reason}")
    runtime = DockerRuntime(os.environ)
    try:
        yield Case(
            runtime, "container", "volume", lambda seen: runtime.engine.api.stop(seen.handle)
        )
    finally:
        runtime.close()


@contextmanager
def process_case() -> Iterator[Case]:
    from algaenv.runtimes.binaries import cache_home
    from algaenv.runtimes.process.runtime import ProcessRuntime

    def stop(seen: Present) -> None:
        os.kill(int(seen.handle.partition(":")[0]), signal.SIGTERM)

    yield Case(ProcessRuntime(os.environ, cache_home(os.environ)), "process", "folder", stop)


CASES = {"docker": docker_case, "process": process_case}


class Harness:
    """One environment on one runtime, worked by hand: nothing here plans."""

    def __init__(self, case: Case, lock: Lock) -> None:
        self.case = case
        self.lock = lock
        self.lowered = case.runtime.lower(lock, quiet)
        self.by_address = {resource.address: resource for resource in self.lowered.resources}
        self.drivers = case.runtime.drivers(lock.environment)
        self.prober = ServiceProber()

    @property
    def environment(self) -> Environment:
        return self.lock.environment

    def address(self, service: str) -> Address:
        return Address(self.case.running, service)

    def resource(self, service: str) -> Resource:
        return self.by_address[self.address(service)]

    def snapshot(self, *wanted: Resource) -> Mapping[Address, Observation]:
        return self.case.runtime.observer(self.environment).observe(wanted)

    def seen(self, address: Address) -> Present:
        found = self.snapshot(*self.lowered.resources)[address]
        assert isinstance(found, Present), f"{address} is {found}"
        return found

    def create(self, *services: str) -> None:
        """Everything of `services` (or all of it), kind after kind, each kind in parallel."""
        for kind in _MAKING:
            chosen = [
                r
                for r in self.lowered.resources
                if r.address.kind == kind
                and (not services or r.address.name in services or kind == "network")
            ]
            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(self.drivers[kind].create, r, quiet) for r in chosen]:
                    done.result()

    def await_answer(self, service: str) -> None:
        probe = self.resource(service).probe
        assert probe is not None
        probe_engine: list[ProbeResult] = []

        def ready() -> bool:
            probe_engine.append(self.prober.probe(probe))
            assert not isinstance(probe_engine[-1], Never), probe_engine[-1]
            if not isinstance(probe_engine[-1], Yes) and (lines := self.diagnostics(service)):
                raise AssertionError("\n".join((service, *lines)))
            return isinstance(probe_engine[-1], Yes)

        until(f"{service} answers", ready)

    def diagnostics(self, service: str) -> tuple[str, ...] | None:
        found: tuple[str, ...] | None = self.drivers[self.case.running].diagnostics(  # type: ignore[attr-defined]
            self.address(service)
        )
        return found

    def sweep(self) -> None:
        """Remove all that carries the environment's mark, last made first."""
        for connection in self.prober._http._connections.values():
            connection.close()
        found = self.snapshot()
        for kind in reversed(_MAKING):
            for address, seen in found.items():
                if address.kind == kind and isinstance(seen, Present):
                    self.drivers[kind].delete(address, seen, quiet)
        left = [str(a) for a, o in self.snapshot().items() if not isinstance(o, Absent)]
        assert not left, left


RUNTIMES = (pytest.param("docker", marks=pytest.mark.docker), "process")


@pytest.fixture(params=RUNTIMES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with CASES[request.param]() as found:
        yield found


@contextmanager
def harnesses(case: Case, folder: Path) -> Iterator[Callable[..., Harness]]:
    """Makes environments, and removes all that came of them in the end."""
    made: list[Harness] = []

    def make(**changes: object) -> Harness:
        home = folder / f"home{len(made)}"
        home.mkdir(mode=0o700)
        settings = {
            "store": profile("rclone"),
            "redis": profile("valkey"),
            "database": profile("postgres-18"),
            "runtime": case.runtime.name,
            "images": "build",
            **changes,
        }
        lock = make_lock(home, **settings)  # type: ignore[arg-type]
        made.append(Harness(case, lock))
        return made[-1]

    yield make
    for harness in made:
        harness.sweep()


@pytest.fixture
def make_harness(case: Case, tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    with harnesses(case, tmp_path) as make:
        yield make


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """An environment of which nothing exists yet."""
    return make_harness()
