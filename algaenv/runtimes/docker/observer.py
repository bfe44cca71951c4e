"""Observes an environment by its mark, in a few round trips over one connection.

The drift of a container, a change made behind our back, is a pure function of what was observed.
Live values are compared with the inputs in the container's label, not with the spec. A value that
the engine does not report, or reports in another form, is no drift: recreating a healthy container
for nothing is worse than missing a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from algaenv.model.kind import CONTAINER, VOLUME, Address
from algaenv.model.resource import Absent, Json, Observation, Present, Resource
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import translate_errors
from algaenv.runtimes.docker.labels import Mark, owner_of, read_mark
from algaenv.runtimes.docker.specs import (
    RESTART,
    ContainerSpec,
    DockerfileImage,
    NetworkSpec,
    PulledImage,
    RecipeImage,
    VolumeSpec,
)

_Objects = list[Mapping[str, Json]]
_OBSERVING: Final = "look at the containers of this environment"
_LIMITS: Final = {
    "NanoCpus": "processor limit",
    "CpusetCpus": "set of processors",
    "CpuQuota": "processor quota",
}


class DockerObserver:
    """Observes containers, networks, volumes and images of one environment."""

    def __init__(self, engine: Engine, environment_id: str) -> None:
        self._engine = engine
        self._id = environment_id

    def observe(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        """See `reconcile.protocols.Observer`. Raises EngineGone when the engine does not answer."""
        with translate_errors(_OBSERVING):
            networks = [as_map(one) for one in as_list(self._engine.get("/networks"))]
            seen: dict[Address, Observation] = {}
            seen |= self._containers(wanted, networks)
            seen |= self._networks(wanted, networks)
            seen |= self._volumes(wanted)
            seen |= self._images(wanted)
        return seen

    def _containers(
        self, wanted: Sequence[Resource], networks: Sequence[Mapping[str, Json]]
    ) -> Mapping[Address, Observation]:
        ids = {str(one.get("Name")): str(one.get("Id")) for one in networks}
        ours = self._marked("/containers/json", {"all": 1})
        seen: dict[Address, Observation] = {}
        for one in ours:
            found = self._engine.find(f"/containers/{one.get('Id')}/json")
            mark = read_mark(as_texts(one.get("Labels")))
            if found is not None and mark is not None:
                address = mark.address
                if address in seen:  # A copy made by hand, label and all.
                    address = CONTAINER.address(str(found.get("Name", "")).lstrip("/"))
                seen[address] = self._container(found, ids)
        for resource in wanted:
            match resource.body:
                case ContainerSpec(name=name) if resource.address not in seen:
                    found = self._engine.find(f"/containers/{quote(name)}/json")
                    seen[resource.address] = self._container(found, ids) if found else Absent()
        return seen

    def _container(self, found: Mapping[str, Json], networks: Mapping[str, str]) -> Observation:
        texts = as_texts(as_map(found.get("Config")).get("Labels"))
        mark, handle = read_mark(texts), str(found.get("Id"))
        if mark is None or mark.environment != self._id:
            return Present(None, handle=handle, note=owner_of(texts))
        state = as_map(found.get("State"))
        return Present(
            mark.fingerprint,
            mark.inputs,
            drift(found, mark, networks),
            running=bool(state.get("Running")) and not state.get("Restarting"),
            handle=handle,
            note=str(mark.inputs.get("image", "")),
        )

    def _networks(
        self, wanted: Sequence[Resource], networks: Sequence[Mapping[str, Json]]
    ) -> Mapping[Address, Observation]:
        seen: dict[Address, Observation] = {}
        for one in networks:
            mark = self._mark(one)
            if mark is not None:
                seen[mark.address] = Present(
                    mark.fingerprint, mark.inputs, handle=str(one.get("Id"))
                )
        by_name = {str(one.get("Name")): one for one in networks}
        for resource in wanted:
            match resource.body:
                case NetworkSpec(name) if resource.address not in seen:
                    seen[resource.address] = _foreign(by_name.get(name), "Id")
        return seen

    def _volumes(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        """Volumes are identified by name, which contains service, environment and data format.

        Of several volumes of one address, unwanted ones get an address by their own name: data of
        an earlier engine, which only the user may delete.
        """
        names = {r.body.name: r for r in wanted if isinstance(r.body, VolumeSpec)}
        taken = {resource.address for resource in names.values()}
        seen: dict[Address, Observation] = {}
        for one in sorted(self._marked("/volumes"), key=lambda one: str(one.get("Name"))):
            name, mark = str(one.get("Name")), self._mark(one)
            if mark is None:
                continue
            if name in names:
                resource = names[name]
                seen[resource.address] = Present(
                    resource.fingerprint, resource.inputs, handle=name, retained=True
                )
                continue
            free = mark.address not in taken and mark.address not in seen
            address = mark.address if free else VOLUME.address(name)
            note = f"data of {name}"
            seen[address] = Present(
                mark.fingerprint, mark.inputs, handle=name, note=note, retained=True
            )
        for name, resource in names.items():
            if resource.address not in seen:
                seen[resource.address] = _foreign(
                    self._engine.find(f"/volumes/{quote(name)}"), "Name"
                )
        return seen

    def _images(self, wanted: Sequence[Resource]) -> Mapping[Address, Observation]:
        seen: dict[Address, Observation] = {}
        for resource in wanted:
            match resource.body:
                case PulledImage() | RecipeImage() | DockerfileImage():
                    seen[resource.address] = self._image(resource, resource.body.references)
        return seen

    def _image(self, resource: Resource, references: Iterable[str]) -> Observation:
        for reference in references:
            found = self._engine.find(f"/images/{reference}/json")
            if found is not None:
                return Present(
                    resource.fingerprint,
                    resource.inputs,
                    handle=str(found.get("Id")),
                    note="shared by all environments",
                    retained=True,
                )
        return Absent()

    def _marked(self, path: str, query: Mapping[str, object] | None = None) -> _Objects:
        filters = {"label": [f"{labels.ENVIRONMENT}={self._id}"]}
        found = self._engine.get(path, {"filters": filters, **(query or {})})
        if path == "/volumes":
            found = as_map(found).get("Volumes")
        return [as_map(one) for one in as_list(found)]

    def _mark(self, one: Mapping[str, Json]) -> Mark | None:
        mark = read_mark(as_texts(one.get("Labels")))
        return mark if mark and mark.environment == self._id else None


def _foreign(found: Mapping[str, Json] | None, handle: str) -> Observation:
    """An object with the name of a wanted one, without this environment's mark."""
    if found is None:
        return Absent()
    return Present(
        None, handle=str(found.get(handle)), note=owner_of(as_texts(found.get("Labels")))
    )


def drift(seen: Mapping[str, Json], mark: Mark, networks: Mapping[str, str]) -> tuple[str, ...]:
    """The drift of an inspected container; `networks` are the engine's, name → id."""
    return (
        *_name(seen, mark),
        *_image(seen, mark),
        *_ports(seen, mark),
        *_mounts(seen, mark),
        *_network(seen, mark, networks),
        *_limits(seen),
        *_recorded_limits(seen, mark),
        *_paused(seen),
    )


def _name(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    live, name = str(seen.get("Name", "")).lstrip("/"), mark.inputs.get("name")
    if live and name and live != name:
        yield f"renamed from {name} to {live}"


def _image(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    live = str(seen.get("Image", ""))
    if live and mark.image_id and live != mark.image_id:
        yield f"runs another image ({_short(live)} instead of {_short(mark.image_id)})"


def _ports(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    bound = as_map(as_map(seen.get("HostConfig")).get("PortBindings"))
    live = set()
    for inside, bindings in bound.items():
        for binding in as_list(bindings):
            where = as_map(binding)
            number = inside.partition("/")[0]
            live.add(f"{where.get('HostIp')}:{where.get('HostPort')}->{number}")
    recorded = {str(text) for key, text in mark.inputs.items() if key.startswith("ports.")}
    for text in sorted(recorded - live):
        yield f"no longer publishes {text}"
    for text in sorted(live - recorded):
        yield f"publishes {text}"


def _mounts(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    found = (as_map(one) for one in as_list(seen.get("Mounts")))
    live = {str(one.get("Destination")): one for one in found}
    for key, text in mark.inputs.items():
        target = key.removeprefix("mounts.")
        # More mounts than ours are no drift: images declare volumes of their own.
        if target != key and (actual := _mount(live.get(target), str(text))) != text:
            yield f"{target} is {actual} instead of {text}"


def _mount(live: Mapping[str, Json] | None, text: str) -> str:
    if live is None:
        return "not mounted"
    if live.get("Type") == "bind":
        # Engines in a virtual machine see the directories of this one under other names.
        return text if text.startswith("bind ") else f"bind {live.get('Source')}"
    return f"{live.get('Type')} {live.get('Name')}{'' if live.get('RW', True) else ' (read-only)'}"


def _network(seen: Mapping[str, Json], mark: Mark, networks: Mapping[str, str]) -> Iterator[str]:
    name = str(mark.inputs.get("network", ""))
    attached = as_map(as_map(seen.get("NetworkSettings")).get("Networks"))
    if name and name not in attached:
        yield f"not attached to the network {name}"
        return
    live = as_map(attached.get(name)).get("NetworkID")
    if live and networks.get(name, live) != live:
        yield f"attached to an earlier network {name}"


def _limits(seen: Mapping[str, Json]) -> Iterator[str]:
    host = as_map(seen.get("HostConfig"))
    for key, title in _LIMITS.items():
        if host.get(key):
            yield f"{title} set to {host[key]}"
    policy = as_map(host.get("RestartPolicy")).get("Name")
    if policy and policy != RESTART:
        yield f"restart policy is {policy} instead of {RESTART}"


def _recorded_limits(seen: Mapping[str, Json], mark: Mark) -> Iterator[str]:
    host = as_map(seen.get("HostConfig"))
    for key, name, title in (
        ("Memory", "limits.memory", "memory limit"),
        ("PidsLimit", "limits.pids", "limit of processes"),
    ):
        live, recorded = host.get(key) or 0, mark.inputs.get(name, 0)
        # An engine whose kernel knows no such limit leaves it out.
        if live not in {0, -1, recorded}:
            yield f"{title} set to {live}"


def _paused(seen: Mapping[str, Json]) -> Iterator[str]:
    if as_map(seen.get("State")).get("Paused"):
        yield "paused"


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]
