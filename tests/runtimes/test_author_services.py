"""What services of the author's own become on each runtime: values in, values out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.intent import NoGateway, PullRef
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import Lock
from algaenv.model.probe import HttpProbe, PortProbe
from algaenv.model.problem import ResolveError, Where
from algaenv.model.resource import Resource
from algaenv.model.secret import Secret
from algaenv.model.service import ServiceIntent, ServicePort
from algaenv.plan.app_variables import app_variables
from algaenv.reconcile.endpoints import service_endpoints, services_of
from algaenv.reconcile.logs import select_sources
from algaenv.reconcile.protocols import Lowered
from algaenv.reconcile.status import empty_status
from algaenv.runtimes.author_services import addresses_here
from algaenv.runtimes.docker import author_containers
from algaenv.runtimes.docker import lower as docker_lower
from algaenv.runtimes.docker.create_request import container_request
from algaenv.runtimes.docker.specs import ContainerSpec, Port, PulledImage
from algaenv.runtimes.process import author_processes
from algaenv.runtimes.process.specs import ProcessSpec
from algaenv.runtimes.services import own_ports
from tests.runtimes.locks import GATEWAY, make_lock

PORTS_OF = ("mail", "search")
WHERE = Where("algaenv.yaml", 7, 3)
PORTS = {"mail.web": 21001, "mail.smtp": 21002, "search.api": 21003}
BARE = ServiceIntent(
    name="search",
    image=PullRef(("registry.invalid/search",), "1", None),
    command=(),
    process=("sh",),
    directory="/here",
    ports=(ServicePort("api", None, 0),),
    environment={},
    volumes=(),
    ready_port="api",
    ready_path="",
    needs=(),
    memory=1 << 30,
    pids=512,
    where=WHERE,
)
MAIL = replace(
    BARE,
    name="mail",
    command=("--listen", "{host}:{port.web}", '{"a": 1}'),
    process=("sh", "-c", "{host}:{port.web} {address.store}"),
    ports=(ServicePort("web", None, 8025), ServicePort("smtp", 21002, 21002)),
    environment={
        "SEARCH": "{address.search.api}",
        "REDIS": "{address.redis}",
        "KEY": Secret("hunter2 {host}"),
    },
    volumes=("/data/mail:/mail:ro",),
    ready_port="web",
    ready_path="/live",
    needs=("search", "redis", "database"),
)


def lock_with(home: Path, *services: ServiceIntent, **settings: Any) -> Lock:
    lock = make_lock(home, **settings)
    intent = replace(lock.intent, services=services)
    return replace(lock, intent=intent, ports=replace(lock.ports, services=PORTS))


def lowered_ours(kind: str, names: tuple[str, ...] = ("store", "redis")) -> Lowered:
    """What a runtime makes of our services, as far as it matters to the author's."""
    hosts = {name: Address(kind, name) for name in names}
    return Lowered((), hosts)


def as_containers(lock: Lock) -> dict[str, Resource]:
    made = author_containers.with_author_services(lowered_ours("container"), lock)
    assert made.hosts["mail"] == Address("container", "mail")
    return {str(it.address): it for it in made.resources}


def as_processes(lock: Lock) -> dict[str, Resource]:
    environ = {"PATH": "/bin:/usr/bin", "SHELL_ONLY": "1", "HOME": "/home/me"}
    made = author_processes.with_author_services(lowered_ours("process"), lock, environ)
    assert made.hosts["mail"] == Address("process", "mail")
    return {str(it.address): it for it in made.resources}


def test_a_container_has_the_limits_of_a_foreign_image(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, replace(MAIL, environment={"KEY": Secret("hunter2")}))
    found = as_containers(lock)
    assert set(found) == {f"{it}/{name}" for it in ("image", "container") for name in PORTS_OF}
    resource = found["container/mail"]
    body = resource.body
    assert isinstance(body, ContainerSpec)
    assert body.image == PulledImage(("registry.invalid/search",), "1", None, buildable=False)
    assert body.command == ("--listen", "0.0.0.0:8025", '{"a": 1}')
    assert body.ports == (Port("web", 21001, 8025), Port("smtp", 21002, 21002))
    assert [str(it) for it in body.mounts] == ["bind /data/mail (read-only)"]
    assert resource.probe == HttpProbe("http://127.0.0.1:21001/live")
    assert set(resource.needs) == {
        Address("network", "main"),
        Address("image", "mail"),
        Address("container", "search"),
        Address("container", "redis"),
    }
    assert not any("hunter2" in str(it) for it in resource.inputs.values())
    request = container_request(lock.environment, resource, body, "mail:1", "sha256:1")
    host = request["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["Memory"], host["PidsLimit"]) == (1 << 30, 512)
    bindings = [binding for bound in host["PortBindings"].values() for binding in bound]
    assert {it["HostIp"] for it in bindings} == {"127.0.0.1"}


def test_containers_reach_one_another_by_name(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, MAIL)
    redis = replace(container_of(lock, "search"), service="redis", ports=(Port("main", 1, 6379),))
    ours = Resource(Address("container", "redis"), Tier.SUBSTRATE, {}, redis)
    lowered = Lowered((ours,), {"redis": ours.address})
    made = author_containers.with_author_services(lowered, lock)
    (body,) = [it.body for it in made.resources if it.address == Address("container", "mail")]
    assert isinstance(body, ContainerSpec)
    # A port without a number of its own in the container is the same on both sides.
    assert body.environment["SEARCH"] == "search:21003"
    assert body.environment["REDIS"] == "redis:6379"
    assert body.environment["KEY"] == Secret("hunter2 {host}")
    assert [it.service for it in made.engines] == ["search", "mail"]


def container_of(lock: Lock, name: str) -> ContainerSpec:
    only = replace(lock.intent, services=tuple(it for it in (BARE,) if it.name == name))
    made = author_containers.with_author_services(Lowered((), {}), replace(lock, intent=only))
    body = next(it.body for it in made.resources if it.address == Address("container", name))
    assert isinstance(body, ContainerSpec)
    return body


def test_a_process_runs_beside_the_spec_with_variables_of_its_own(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, MAIL)
    found = as_processes(lock)
    resource = found["process/mail"]
    body = resource.body
    assert isinstance(body, ProcessSpec)
    shell = shutil.which("sh", path="/bin:/usr/bin")
    assert body.argv == (shell, "-c", f"127.0.0.1:21001 127.0.0.1:{lock.ports.store}")
    assert body.directory == Path("/here")
    assert body.ports == {"web": 21001, "smtp": 21002}
    assert body.wanted_environment == {
        "SEARCH": "127.0.0.1:21003",
        "REDIS": f"127.0.0.1:{lock.ports.redis}",
        "KEY": Secret("hunter2 {host}"),
    }
    assert {"PATH", "HOME"} <= set(body.environment)
    assert "SHELL_ONLY" not in body.environment
    assert set(resource.needs) == {Address("process", "search"), Address("process", "redis")}
    assert not any("hunter2" in str(it) for it in resource.inputs.values())
    assert found["process/search"].probe == PortProbe("127.0.0.1", 21003)


def test_a_program_by_path_starts_at_the_spec(tmp_path: Path) -> None:
    program = tmp_path / "bin/serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    service = replace(MAIL, process=("./bin/serve",), directory=str(tmp_path))
    with pytest.raises(ResolveError, match=r"there is no program \./bin/serve that can be run"):
        as_processes(lock_with(tmp_path, service, BARE))
    program.chmod(0o755)
    body = as_processes(lock_with(tmp_path, service, BARE))["process/mail"].body
    assert isinstance(body, ProcessSpec)
    assert body.argv == (str(program),)


def test_what_the_runtime_cannot_run_is_refused_at_its_place(tmp_path: Path) -> None:
    imageless = (replace(MAIL, image=None), replace(BARE, image=None))
    with pytest.raises(ResolveError) as caught:
        as_containers(lock_with(tmp_path, *imageless))
    problems = caught.value.problems
    assert [it.code for it in problems] == ["service-cannot-run"] * 2
    assert problems[0].where == WHERE
    assert "`services.mail` has no `image`" in problems[0].summary
    with pytest.raises(ResolveError, match="has no `process`"):
        as_processes(lock_with(tmp_path, replace(MAIL, process=()), BARE))
    missing = replace(MAIL, process=("no-such-program",)), replace(BARE, process=())
    with pytest.raises(ResolveError) as caught:
        as_processes(lock_with(tmp_path, *missing))
    assert len(caught.value.problems) == 2
    first, second = (it.summary for it in caught.value.problems)
    assert "no program no-such-program on PATH" in first
    assert "`services.search` has no `process`" in second


def test_without_services_nothing_is_added(tmp_path: Path) -> None:
    lowered = lowered_ours("process")
    lock = make_lock(tmp_path)
    assert author_processes.with_author_services(lowered, lock, {}) is lowered
    assert author_containers.with_author_services(lowered, lock) is lowered


def test_their_addresses_are_shown_and_given_to_tasks(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, replace(MAIL, name="mail"), gateway=GATEWAY)
    shown = service_endpoints(lock, as_processes(lock)["process/mail"])
    assert shown == {"web": "http://127.0.0.1:21001", "smtp": "tcp://127.0.0.1:21002"}
    variables = app_variables(lock, "tenant")
    assert variables["SERVICE_MAIL_WEB_URL"] == "http://127.0.0.1:21001"
    assert variables["SERVICE_MAIL_SMTP_HOST"] == "127.0.0.1"
    assert variables["SERVICE_SEARCH_API_PORT"] == "21003"


def test_handlers_may_not_ask_them_unless_they_are_let(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, MAIL)
    assert set(PORTS.values()) < own_ports(lock)
    closed = set(docker_lower._own_addresses(lock, {}))
    assert {"mail:8025", "mail:21002", "search:21003", "host.docker.internal:21001"} <= closed


def test_their_logs_can_be_asked_for_and_they_are_absent_before_an_up(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, MAIL)
    assert services_of(lock.intent)[-2:] == ("search", "mail")
    assert select_sources(("mail",), lock.intent).read == ("mail",)
    before = empty_status(lock.environment, lock.intent, "process").services
    assert [(it.name, it.state) for it in before][-1] == ("mail", "absent")


def test_an_address_of_ours_is_known_where_the_service_runs(tmp_path: Path) -> None:
    lock = lock_with(tmp_path, BARE, MAIL, gateway=GATEWAY)
    assert "address.gateway" in addresses_here(lock)
    without = lock_with(tmp_path, BARE, MAIL, gateway=NoGateway())
    assert "address.gateway" not in addresses_here(without)
