"""Finds what holds a port that a container should publish: another container or a process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from algaenv.model.lock import LOOPBACK, Environment
from algaenv.model.plan import Blocked, Change
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Json
from algaenv.runtimes.docker.endpoint import UnixSocket
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.labels import owner_of, read_mark
from algaenv.runtimes.docker.specs import ContainerSpec, Port

_BLOCKING: Final = frozenset(("", LOOPBACK, "0.0.0.0", "::"))  # noqa: S104 - compared with


def port_conflict(engine: Engine, body: ContainerSpec) -> Conflict | None:
    """The Conflict (`port-taken`) for every port of `body` that is held; None when all are free.

    The engine comes first: it knows the container where the kernel shows only its proxy.
    """
    containers = [as_map(one) for one in as_list(engine.get("/containers/json"))]
    problems = []
    for port in body.ports:
        holder = _container(containers, port.host, body.name) or _process(engine, port.host)
        if holder:
            problems.append(_taken(body.service, port, *holder))
    return Conflict(*problems) if problems else None


def port_obstacles(
    engine: Engine, environment: Environment, changes: Sequence[Change]
) -> tuple[Blocked, ...]:
    """Containers to be started whose ports others hold; ports of this environment are freed.

    Sends one request for all of them.
    """
    containers = [as_map(one) for one in as_list(engine.get("/containers/json"))]
    ours = [one for one in containers if _is_of(environment, one)]
    others = [one for one in containers if one not in ours]
    own = {as_map(port).get("PublicPort") for one in ours for port in as_list(one.get("Ports"))}
    found = []
    for change in changes:
        body = change.resource.body if change.resource else None
        if not isinstance(body, ContainerSpec):
            continue
        for port in body.ports:
            if port.host in own:
                continue
            holder = _container(others, port.host, body.name) or _process(engine, port.host)
            if holder:
                found.append(Blocked(change.address, _taken(body.service, port, *holder)))
    return tuple(found)


def _is_of(environment: Environment, one: Mapping[str, Json]) -> bool:
    mark = read_mark(as_texts(one.get("Labels")))
    return mark is not None and mark.environment == environment.id


def unknown_holder_conflict(body: ContainerSpec, number: int) -> Conflict:
    """The Conflict for a port that the engine could not bind although no holder can be found."""
    ports = [port for port in body.ports if port.host == number] or list(body.ports)
    return Conflict(
        *(_taken(body.service, port, "something that cannot be seen", "") for port in ports)
    )


def _container(
    containers: Iterable[Mapping[str, Json]], number: int, own_name: str
) -> tuple[str, str] | None:
    for one in containers:
        names = [str(name).lstrip("/") for name in as_list(one.get("Names"))]
        if own_name in names:
            continue
        for published in map(as_map, as_list(one.get("Ports"))):
            if published.get("PublicPort") == number and published.get("IP", "") in _BLOCKING:
                labels = as_texts(one.get("Labels"))
                mark = read_mark(labels)
                known = mark is not None and os.path.exists(mark.spec)  # noqa: PTH110
                hint = (
                    f"run `algaenv down -f {shlex.quote(mark.spec)}`"
                    if mark is not None and known
                    else f"run `docker stop {names[0]}`"
                )
                return f"the container {names[0]}, {owner_of(labels)}", hint
    return None


def _process(engine: Engine, number: int) -> tuple[str, str] | None:
    if not isinstance(engine.endpoint, UnixSocket):
        return None
    from algaenv.runtimes.ports import find_port_holder

    holder = find_port_holder(number)
    if holder is None:
        return None
    return str(holder), holder.remedy


def _taken(service: str, port: Port, holder: str, hint: str) -> Problem:
    key = "console_port" if port.name == "console" else "port"
    other = f"set `{service}.{key}` in the spec to another number or to `auto`, or `ports: auto`"
    return Problem(
        "port-taken",
        f"cannot publish {service} on port {port.host} of {LOOPBACK}: {holder} has it",
        f"{hint}, or {other}" if hint else other,
    )
