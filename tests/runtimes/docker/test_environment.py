"""The engines that this package ships as its defaults, all of it, as containers made here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.model.lock import Lock
from algaenv.runtimes.binaries import find
from algaenv.runtimes.docker.image_selection import container_user
from algaenv.runtimes.docker.runtime import DockerRuntime
from algaenv.spec.paths import profile
from tests.contract.conftest import Case, Harness
from tests.runtimes.locks import make_lock

pytestmark = pytest.mark.docker


def _shipped(home: Path) -> Lock:
    lock = make_lock(
        home,
        store=profile("silo"),
        redis=profile("valkey"),
        database=profile("postgres-18"),
    )
    local = tuple(profile(name) for name in ("silo", "minio", "rclone"))
    store = replace(lock.intent.store, local=local)
    return replace(lock, intent=replace(lock.intent, store=store))


@pytest.fixture
def harness(runtime: DockerRuntime, tmp_path: Path) -> Iterator[Harness]:
    case = Case(runtime, "container", "volume", lambda seen: None)
    harness = Harness(case, _shipped(tmp_path))
    yield harness
    harness.sweep()


@pytest.mark.slow
def test_the_defaults_answer(harness: Harness) -> None:
    harness.create()
    for service in ("store", "redis", "database", "runner"):
        harness.await_answer(service)
        seen = harness.seen(harness.address(service))
        assert (seen.running, seen.drift) == (True, ())
        assert seen.recorded == harness.resource(service).fingerprint
    engine = harness.case.runtime.engine  # type: ignore[attr-defined]
    for service in ("store", "redis", "database", "runner"):
        found = engine.api.inspect_container(harness.seen(harness.address(service)).handle)
        assert found["Config"]["User"] == str(
            container_user(harness.environment.id, os.geteuid(), os.getegid())
        )
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert not found["HostConfig"]["CapAdd"]


@pytest.mark.slow
def test_the_runner_reaches_its_services_by_name(harness: Harness) -> None:
    harness.create("store", "redis", "runner")
    harness.await_answer("runner")
    engine = harness.case.runtime.engine  # type: ignore[attr-defined]
    looks = (
        "import socket\n"
        "for name, port in (('store', 9000), ('redis', 6379)):\n"
        "    socket.create_connection((name, port), 5).close()\n"
        "print(socket.gethostbyname('host.docker.internal') != '127.0.0.1')\n"
    )
    harness.await_answer("store")
    harness.await_answer("redis")
    container = harness.seen(harness.address("runner")).handle
    made = engine.api.exec_create(container, ["python3", "-c", looks])
    assert engine.api.exec_start(made).decode().strip() == "True"


def test_the_store_is_the_first_whose_program_is_here(harness: Harness) -> None:
    expected = next(
        name for name in ("silo", "minio", "rclone") if find(profile(name).binaries, os.environ)
    )
    note = next(it.source for it in harness.lowered.engines if it.service == "store")
    assert note.startswith("made on this machine from ")
    assert note.endswith(expected)
