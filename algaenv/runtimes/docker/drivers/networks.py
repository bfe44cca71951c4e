"""Creates and removes the environment's network, and finds what holds a port to be published."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from algaenv.model.kind import Address
from algaenv.model.lock import LOOPBACK, Environment
from algaenv.model.plan import Blocked, Change
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Json, Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.endpoint import UnixSocket
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import FORBIDDEN, ignore_missing, status_of, translate_errors
from algaenv.runtimes.docker.labels import labels_for, owner_of, read_mark
from algaenv.runtimes.docker.specs import ContainerSpec, NetworkSpec, Port

# ruff: noqa: ARG002 - the signatures are the protocol's
_BLOCKING: Final = frozenset(("", LOOPBACK, "0.0.0.0", "::"))  # noqa: S104 - compared with


class NetworkDriver:
    """Driver of `network`."""

    def __init__(self, engine: Engine, environment: Environment) -> None:
        self._engine = engine
        self._environment = environment

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """A bridge with this environment's mark. Raises Conflict (`name-taken`)."""
        body = resource.body
        assert isinstance(body, NetworkSpec)  # noqa: S101 - made by this runtime's lowering
        with translate_errors(f"make the network {body.name}"):
            if self._exists(body.name):
                return
            request = {
                "Name": body.name,
                "Driver": "bridge",
                "CheckDuplicate": True,
                "Labels": labels_for(self._environment, resource),
            }
            self._engine.write("POST", "/networks/create", request)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Nothing about a network can be changed in place; it is replaced instead."""
        self.delete(resource.address, seen, on_progress)
        self.create(resource, on_progress)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove it. Raises Conflict (`network-in-use`) that names the attached containers."""
        with translate_errors(f"remove the network of {address}"):
            found = self._engine.find(f"/networks/{seen.handle}")
            if found is None:
                return
            self._refuse_foreign(found)
            if attached := self._attached(found):
                raise _in_use(str(found.get("Name")), attached)
            try:
                with ignore_missing():
                    self._engine.send("DELETE", f"/networks/{seen.handle}")
            except Exception as error:
                # A container was attached between the check and the removal.
                if status_of(error) != FORBIDDEN:
                    raise
                again = self._engine.find(f"/networks/{seen.handle}") or {}
                raise _in_use(str(found.get("Name")), self._attached(again)) from error

    def _exists(self, name: str) -> bool:
        """Whether it exists and is ours. Raises Conflict when it is not ours."""
        for one in map(as_map, as_list(self._engine.get("/networks"))):
            if one.get("Name") == name:
                labels = as_texts(one.get("Labels"))
                mark = read_mark(labels)
                if mark and mark.environment == self._environment.id:
                    return True
                raise Conflict(
                    Problem(
                        "name-taken",
                        f"cannot make the network {name}: one of that name is {owner_of(labels)}",
                        f"remove it with `docker network rm {name}`",
                    )
                )
        return False

    def _attached(self, found: Mapping[str, Json]) -> list[str]:
        return sorted(
            str(as_map(one).get("Name")) for one in as_map(found.get("Containers")).values()
        )

    def _refuse_foreign(self, found: Mapping[str, Json]) -> None:
        mark = read_mark(as_texts(found.get("Labels")))
        if mark is None or mark.environment != self._environment.id:
            raise not_ours("network", str(found.get("Name")))


def not_ours(kind: str, name: str) -> Conflict:
    """The error for removing an object without this environment's mark."""
    summary = f"cannot remove the {kind} {name}, which is not of this environment"
    return Conflict(Problem("not-ours", summary, f"remove it by hand if nobody needs it: {name}"))


def _in_use(name: str, attached: list[str]) -> Conflict:
    return Conflict(
        Problem(
            "network-in-use",
            f"cannot remove the network {name}: {', '.join(attached) or 'a container'} is attached",
            f"disconnect it with `docker network disconnect {name} {' '.join(attached[:1])}`",
        )
    )


def port_conflict(engine: Engine, body: ContainerSpec) -> Conflict | None:
    """The Conflict (`port-taken`) for every port of `body` that is held; None when all are free.

    The engine comes first: it knows the container where the kernel shows only its proxy.
    """
    containers = [as_map(one) for one in as_list(engine.get("/containers/json"))]
    problems = []
    for port in body.ports:
        holder = _container_holding(containers, port.host, body.name) or _process_holding(
            engine, port.host
        )
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
            holder = _container_holding(others, port.host, body.name) or _process_holding(
                engine, port.host
            )
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


def _container_holding(
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


def _process_holding(engine: Engine, number: int) -> tuple[str, str] | None:
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
