"""Lowers services of the author's own to images and containers. Pure.

An image is foreign: it may start as root and drop root itself, as those of well-known servers do.
It gets the capabilities for that and no other, no new privileges, and limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algaenv.bundle.value import replace
from algaenv.model import kind
from algaenv.model.intent import PullRef
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import Lock
from algaenv.model.problem import ResolveError
from algaenv.model.resource import Resource, ServiceEngine
from algaenv.model.service import ServiceIntent, fill
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.author_services import (
    container_port,
    filled_environment,
    host_port,
    nothing_to_run,
    service_probe,
)
from algaenv.runtimes.docker.lower import (
    ALL_INTERFACES,
    ENTRYPOINT_CAPABILITIES,
    HOST_GATEWAY,
    NETWORK,
    ROOT,
    container_name,
    extra_mount,
    inputs_of,
    network_name,
)
from algaenv.runtimes.docker.specs import ContainerSpec, Port, PulledImage

_STOP_SECONDS: Final = 10


def with_author_services(lowered: Lowered, lock: Lock) -> Lowered:
    """The same with the author's services. Raises ResolveError (`service-cannot-run`)."""
    services = lock.intent.services
    if not services:
        return lowered
    if problems := [nothing_to_run(it, "docker", "image") for it in services if it.image is None]:
        raise ResolveError(*problems)
    addresses = _addresses(lowered, lock)
    hosts = {**lowered.hosts, **{it.name: kind.CONTAINER.address(it.name) for it in services}}
    resources, engines = list(lowered.resources), list(lowered.engines)
    for service, image in author_images(lock).items():
        intent = next(it for it in services if it.name == service)
        body = _body(lock, intent, image, addresses)
        resources += [_image(service, image), _container(lock, intent, body, hosts)]
        engines.append(ServiceEngine(service, "image", image.tag, f"pulled as {image.title}"))
    return replace(lowered, resources=tuple(resources), hosts=hosts, engines=tuple(engines))


def author_images(lock: Lock) -> Mapping[str, PulledImage]:
    """The image of each of the author's services that has one."""
    return {it.name: _pulled(it.image) for it in lock.intent.services if it.image is not None}


def _pulled(ref: PullRef) -> PulledImage:
    return PulledImage(ref.repositories, ref.tag, ref.digest, buildable=False)


def _addresses(lowered: Lowered, lock: Lock) -> dict[str, str]:
    """`address.…` of every service, as containers reach it."""
    found = {
        f"address.{it.address.name}": f"{it.address.name}:{it.body.ports[0].container}"
        for it in lowered.resources
        if isinstance(it.body, ContainerSpec)
    }
    for service in lock.intent.services:
        for port in service.ports:
            place = f"{service.name}:{container_port(lock, service, port)}"
            found[f"address.{service.name}.{port.name}"] = place
    return found


def _body(
    lock: Lock, service: ServiceIntent, image: PulledImage, addresses: Mapping[str, str]
) -> ContainerSpec:
    inside = {it.name: container_port(lock, service, it) for it in service.ports}
    values = {"host": ALL_INTERFACES, **addresses}
    values |= {f"port.{name}": str(number) for name, number in inside.items()}
    return ContainerSpec(
        name=container_name(lock, service.name),
        service=service.name,
        image=image,
        network=network_name(lock),
        command=tuple(fill(word, values) for word in service.command),
        environment=filled_environment(service, values),
        secrets_by="",
        files={},
        file_owner=ROOT,
        user=None,
        chown=(),
        healthcheck=(),
        ports=tuple(
            Port(it.name, host_port(lock, service, it), inside[it.name]) for it in service.ports
        ),
        mounts=tuple(extra_mount(lock, text) for text in service.volumes),
        owned=(),
        capabilities=ENTRYPOINT_CAPABILITIES,
        read_only=False,
        memory=service.memory,
        pids=service.pids,
        tmpfs={},
        host_names=(f"{HOST_GATEWAY}:host-gateway",),
        init=True,
        stop_signal="SIGTERM",
        stop_timeout=_STOP_SECONDS,
    )


def _image(service: str, image: PulledImage) -> Resource:
    address = kind.IMAGE.address(service)
    return Resource(address, Tier.SUBSTRATE, {"image": image.title}, image, retained=True)


def _container(
    lock: Lock, service: ServiceIntent, body: ContainerSpec, hosts: Mapping[str, Address]
) -> Resource:
    needs = [NETWORK, kind.IMAGE.address(service.name)]
    needs += [hosts[it] for it in service.needs if it in hosts]
    return Resource(
        kind.CONTAINER.address(service.name),
        Tier.SUBSTRATE,
        inputs_of(lock, body),
        body,
        tuple(needs),
        service_probe(lock, service),
        replaced=True,
    )
