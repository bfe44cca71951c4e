"""Lowers services of the author's own to processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algaenv.bundle.value import replace
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import LOOPBACK, Lock
from algaenv.model.problem import ResolveError
from algaenv.model.resource import Resource, ServiceEngine
from algaenv.model.service import ServiceIntent, fill
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.author_services import (
    addresses_here,
    filled_environment,
    host_port,
    nothing_to_run,
    program_missing,
    service_probe,
)
from algaenv.runtimes.process.lower import inherited_by_python, inputs_of
from algaenv.runtimes.process.specs import PROCESS, ProcessSpec

PROGRAM: Final = "program"
"""The engine of a service of the author's own."""
_GRACE: Final = 10.0


def with_author_services(lowered: Lowered, lock: Lock, environ: Mapping[str, str]) -> Lowered:
    """The same with the author's services. Raises ResolveError (`service-cannot-run`)."""
    services = lock.intent.services
    if not services:
        return lowered
    programs = _programs(services, environ)
    hosts = {**lowered.hosts, **{it.name: Address(PROCESS, it.name) for it in services}}
    resources, engines = list(lowered.resources), list(lowered.engines)
    addresses = addresses_here(lock)
    for service in services:
        body = _body(lock, service, programs[service.name], addresses, environ)
        needs = tuple(hosts[it] for it in service.needs if it in hosts)
        resources.append(
            Resource(
                hosts[service.name],
                Tier.SUBSTRATE,
                inputs_of(lock, body),
                body,
                needs,
                service_probe(lock, service),
            )
        )
        engines.append(ServiceEngine(service.name, PROGRAM, "", programs[service.name]))
    return replace(lowered, resources=tuple(resources), hosts=hosts, engines=tuple(engines))


def _programs(services: tuple[ServiceIntent, ...], environ: Mapping[str, str]) -> Mapping[str, str]:
    """Service → absolute path of its program. Raises ResolveError with all that lack one."""
    found: dict[str, str] = {}
    problems = []
    for service in services:
        path = _program(service, environ) if service.process else None
        if path is not None:
            found[service.name] = path
        elif service.process:
            problems.append(program_missing(service))
        else:
            problems.append(nothing_to_run(service, "process", "process"))
    if problems:
        raise ResolveError(*problems)
    return found


def _program(service: ServiceIntent, environ: Mapping[str, str]) -> str | None:
    """A path starts at the directory of the spec, a name is looked for on PATH."""
    word = service.process[0]
    if "/" in word:
        word = os.path.normpath(Path(service.directory, word).expanduser())
    path = shutil.which(word, path=environ.get("PATH", os.defpath))
    return None if path is None else str(Path(path).absolute())


def _body(
    lock: Lock,
    service: ServiceIntent,
    program: str,
    addresses: Mapping[str, str],
    environ: Mapping[str, str],
) -> ProcessSpec:
    ports = {it.name: host_port(lock, service, it) for it in service.ports}
    values = {"host": LOOPBACK, **addresses}
    values |= {f"port.{name}": str(number) for name, number in ports.items()}
    wanted = filled_environment(service, values)
    return ProcessSpec(
        engine=PROGRAM,
        argv=(program, *(fill(word, values) for word in service.process[1:])),
        environment={**inherited_by_python(environ), **wanted},
        wanted_environment=wanted,
        files={},
        ports=ports,
        folder=None,
        stop_signal="SIGTERM",
        grace=_GRACE,
        directory=Path(service.directory),
    )
