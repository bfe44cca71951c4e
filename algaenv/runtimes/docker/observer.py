"""Observes an environment by its mark, in a few round trips over one connection.

How a container differs from what was made is in `container_drift.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from algaenv.model.kind import CONTAINER, VOLUME, Address
from algaenv.model.resource import Absent, Json, Observation, Present, Resource, spec_as
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.container_drift import content_drift, drift, stopped_at
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import translate_errors
from algaenv.runtimes.docker.labels import Mark, owner_of, read_mark
from algaenv.runtimes.docker.specs import (
    ContainerSpec,
    DockerfileImage,
    NetworkSpec,
    PulledImage,
    RecipeImage,
    VolumeSpec,
    local_names,
)

_Objects = list[Mapping[str, Json]]
_OBSERVING: Final = "look at the containers of this environment"


class DockerObserver:
    """Observes containers, networks, volumes and images of one environment."""

    def __init__(self, engine: Engine, environment_id: str) -> None:
        self._engine = engine
        self._id = environment_id

    def observe(
        self, wanted: Sequence[Resource], *, thorough: bool = False
    ) -> Mapping[Address, Observation]:
        """See `reconcile.protocols.Observer`. Raises EngineGone when the engine does not answer."""
        with translate_errors(_OBSERVING):
            networks = [as_map(one) for one in as_list(self._engine.get("/networks"))]
            seen: dict[Address, Observation] = {}
            seen |= self._containers(wanted, networks, thorough=thorough)
            seen |= self._networks(wanted, networks)
            seen |= self._volumes(wanted)
            seen |= self._images(wanted)
        return seen

    def _containers(
        self,
        wanted: Sequence[Resource],
        networks: Sequence[Mapping[str, Json]],
        *,
        thorough: bool,
    ) -> Mapping[Address, Observation]:
        resources = {it.address: it for it in wanted if isinstance(it.body, ContainerSpec)}
        ids = {str(one.get("Name")): str(one.get("Id")) for one in networks}
        ours = self._marked("/containers/json", {"all": 1})
        seen: dict[Address, Observation] = {}
        for one in ours:
            found = self._engine.find(f"/containers/{one.get('Id')}/json")
            mark = read_mark(as_texts(one.get("Labels")))
            if found is not None and mark is not None:
                address = mark.address
                resource = resources.get(address)
                if address in seen:  # A copy made by hand, label and all.
                    address = CONTAINER.address(str(found.get("Name", "")).lstrip("/"))
                seen[address] = self._container(found, ids, resource, thorough=thorough)
        for address, resource in resources.items():
            if address not in seen and isinstance(resource.body, ContainerSpec):
                found = self._engine.find(f"/containers/{quote(resource.body.name)}/json")
                seen[address] = self._container(found, ids, None) if found else Absent()
        return seen

    def _container(
        self,
        found: Mapping[str, Json],
        networks: Mapping[str, str],
        resource: Resource | None,
        *,
        thorough: bool = False,
    ) -> Observation:
        texts = as_texts(as_map(found.get("Config")).get("Labels"))
        mark, handle = read_mark(texts), str(found.get("Id"))
        if mark is None or mark.environment != self._id:
            return Present(None, handle=handle, note=owner_of(texts))
        state = as_map(found.get("State"))
        running = bool(state.get("Running")) and not state.get("Restarting")
        wrong = drift(found, mark, networks)
        # What the record says of a file or a secret is a digest; the resource has the value.
        if resource is not None and resource.fingerprint == mark.fingerprint:
            engine = self._engine if thorough else None
            wrong += content_drift(found, spec_as(resource, ContainerSpec), engine)
        return Present(
            mark.fingerprint,
            mark.inputs,
            wrong,
            running=running,
            handle=handle,
            note=str(mark.inputs.get("image", "")),
            since="" if running else stopped_at(state),
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
                    seen[resource.address] = self._image(resource, local_names(resource.body))
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
