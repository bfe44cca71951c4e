"""What both runtimes derive from a service of the author's own: its probe, texts and addresses."""

from __future__ import annotations

from collections.abc import Mapping

from algaenv.model.intent import BundledGateway, ExternalDatabase
from algaenv.model.lock import Lock
from algaenv.model.probe import HttpProbe, PortProbe, Probe
from algaenv.model.problem import Problem
from algaenv.model.secret import Secret
from algaenv.model.service import ServiceIntent, ServicePort, fill, port_key
from algaenv.runtimes.services import Values


def host_port(lock: Lock, service: ServiceIntent, port: ServicePort) -> int:
    """The number on 127.0.0.1; 0 while none is chosen."""
    return lock.ports.services.get(port_key(service.name, port.name), 0)


def container_port(lock: Lock, service: ServiceIntent, port: ServicePort) -> int:
    """The number inside a container."""
    return port.container or host_port(lock, service, port)


def service_probe(lock: Lock, service: ServiceIntent) -> Probe:
    """How it is asked whether it answers, from this machine."""
    port = next(it for it in service.ports if it.name == service.ready_port)
    number = host_port(lock, service, port)
    if service.ready_path:
        return HttpProbe(f"http://{lock.host}:{number}{service.ready_path}")
    return PortProbe(lock.host, number)


def filled_environment(service: ServiceIntent, values: Mapping[str, str]) -> Values:
    """Its variables; secrets are no templates."""
    return {
        name: text if isinstance(text, Secret) else fill(text, values)
        for name, text in service.environment.items()
    }


def addresses_here(lock: Lock) -> dict[str, str]:
    """`address.…` of every service as programs of this machine reach it, `host:port`."""
    ports = lock.ports
    ours = {"store": ports.store, "redis": ports.redis, "runner": ports.runner}
    if not isinstance(lock.intent.database, ExternalDatabase):
        ours["database"] = ports.database
    if isinstance(lock.intent.gateway, BundledGateway):
        ours["gateway"] = ports.gateway
    found = {f"address.{name}": f"{lock.host}:{number}" for name, number in ours.items()}
    for service in lock.intent.services:
        for port in service.ports:
            place = f"{lock.host}:{host_port(lock, service, port)}"
            found[f"address.{service.name}.{port.name}"] = place
    return found


def nothing_to_run(service: ServiceIntent, runtime: str, key: str) -> Problem:
    """The problem of a service that lacks the `key` that a runtime needs."""
    return Problem(
        "service-cannot-run",
        f"cannot run {service.name} with the runtime {runtime}: `services.{service.name}` has no "
        f"`{key}`",
        f"add `{key}`, or choose the other runtime with `--runtime`",
        service.where,
    )


def program_missing(service: ServiceIntent) -> Problem:
    """The problem of a service whose program is not there."""
    word = service.process[0]
    where = "that can be run" if "/" in word else "on PATH"
    return Problem(
        "service-cannot-run",
        f"cannot run {service.name}: there is no program {word} {where}",
        f"install it, or correct `services.{service.name}.process`",
        service.where,
    )
