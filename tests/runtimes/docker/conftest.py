"""The engine, and ways to leave nothing behind on it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.lock import Environment
from algaenv.model.resource import Present, Resource
from algaenv.runtimes.binaries import cache_home
from algaenv.runtimes.docker.drivers.containers import ContainerDriver
from algaenv.runtimes.docker.endpoint import locate
from algaenv.runtimes.docker.engine import Engine, NoEngine, probe_engine
from algaenv.runtimes.docker.lower import inputs_of
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.runtimes.docker.specs import ContainerSpec
from tests.runtimes.docker.registry import Registry, make_image, serve
from tests.runtimes.locks import make_lock

SLEEP = "trap 'exit 0' TERM INT; exec 3<>/dev/ptmx; read -r _ <&3"
"""A shell that sleeps until it is signalled."""
QUIET: Callable[[str], None] = lambda _: None  # noqa: E731


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = probe_engine(os.environ)
    if isinstance(found, NoEngine):
        pytest.skip(f"needs a Docker engine: {found.reason}")
    engine = Engine(locate(os.environ), os.environ)
    yield engine
    engine.close()


@pytest.fixture
def runtime(engine: Engine) -> Iterator[DockerRuntime]:
    runtime = DockerRuntime(os.environ, cache_home(os.environ))
    yield runtime
    runtime.close()


@pytest.fixture
def environment(engine: Engine, tmp_path: Path) -> Iterator[Environment]:
    """A new environment; everything with its mark is removed afterwards."""
    made = Environment(secrets.token_hex(5), "check", tmp_path / "algaenv.yaml", tmp_path)
    yield made
    sweep(engine, made.id)


def sweep(engine: Engine, environment_id: str) -> None:
    api = engine.api
    mark = {"label": f"dev.algaenv.environment={environment_id}"}
    for one in api.containers(all=True, filters=mark):
        api.remove_container(one["Id"], v=True, force=True)
    for one in api.networks(filters=mark):
        api.remove_network(one["Id"])
    for one in api.volumes(filters=mark)["Volumes"] or ():
        api.remove_volume(one["Name"], force=True)


@pytest.fixture
def strays(engine: Engine) -> Iterator[list[str]]:
    """Names of containers that are none of ours, removed afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        try:
            engine.api.remove_container(name, v=True, force=True)
        except Exception as error:
            assert "404" in str(error)  # noqa: PT017


@pytest.fixture
def registry(engine: Engine) -> Iterator[Registry]:
    arch = engine.facts.arch
    image, other = make_image(secrets.token_hex(8), arch), make_image(secrets.token_hex(8), arch)
    with serve(image, other) as registry:
        yield registry
        for one in engine.api.images():
            names = [*(one["RepoDigests"] or ()), *(one["RepoTags"] or ())]
            if any(registry.host in name for name in names):
                engine.api.remove_image(one["Id"], force=True)


def seen_as(found: object) -> Present:
    assert isinstance(found, Present), found
    return found


class Bench:
    """Drivers and observer of one environment, and containers that run any program.

    Their image is the database's, the one of ours that has a shell.
    """

    def __init__(self, runtime: DockerRuntime, environment: Environment, home: Path) -> None:
        self.engine = runtime.engine
        self.runtime = runtime
        self.environment = environment
        lock = make_lock(home, name=environment.name)
        self.lock = replace(lock, environment=environment)
        self.lowered = runtime.lower(self.lock, QUIET)
        drivers = runtime.drivers(environment)
        self.containers = drivers["container"]
        self.networks = drivers["network"]
        self.volumes = drivers["volume"]
        self.images = drivers["image"]
        assert isinstance(self.containers, ContainerDriver)
        self.observer = runtime.observer(environment)

    def wanted(self, address: str) -> Resource:
        return next(r for r in self.lowered.resources if str(r.address) == address)

    def shell(self, script: str, **changes: object) -> Resource:
        """The wanted container of redis, but with another program in it."""
        self.images.create(self.wanted("image/database"), QUIET)
        self.networks.create(self.wanted("network/main"), QUIET)
        resource = self.wanted("container/redis")
        assert isinstance(resource.body, ContainerSpec)
        settings: dict[str, object] = {
            "image": self.wanted("image/database").body,
            "command": ("sh", "-c", script),
            "files": {},
            "mounts": (),
            "owned": (),
            "stop_timeout": 1,
        }
        body = replace(resource.body, **{**settings, **changes})  # type: ignore[arg-type]
        return replace(resource, body=body, inputs=inputs_of(self.lock, body))

    def name(self, resource: Resource) -> str:
        assert isinstance(resource.body, ContainerSpec)
        return resource.body.name

    def seen(self, resource: Resource) -> Present:
        return seen_as(self.observer.observe([resource])[resource.address])

    def diagnostics(self, resource: Resource) -> tuple[str, ...] | None:
        assert isinstance(self.containers, ContainerDriver)
        return self.containers.diagnostics(resource.address)

    def run_stray(self, name: str, **settings: Any) -> str:
        """A container without our labels."""
        self.images.create(self.wanted("image/database"), QUIET)
        api = self.engine.api
        host = api.create_host_config(**settings)
        image = self.wanted("image/database").inputs["image"]
        made = api.create_container(
            image,
            ["sh", "-c", SLEEP],
            name=name,
            host_config=host,
            ports=list(settings.get("port_bindings", ())),
        )
        api.start(made["Id"])
        return str(made["Id"])


@pytest.fixture
def bench(runtime: DockerRuntime, environment: Environment, tmp_path: Path) -> Bench:
    return Bench(runtime, environment, tmp_path)
