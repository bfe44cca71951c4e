"""Creates and removes volumes, and changes the owner of their directories.

The top directory of a new volume belongs to root and gets its owner before the container starts.
Data of another user, from an earlier version of this program or another caller, is chowned by a
helper container that runs once, as root, without a network, and with no other capability.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from algaenv.bundle.value import replace
from algaenv.model import kind
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, Failed, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.create_request import owners_archive, preparation_request
from algaenv.runtimes.docker.drivers.networks import not_ours
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import CONFLICT, ignore_missing, status_of, translate_errors
from algaenv.runtimes.docker.images.pull import usable_image
from algaenv.runtimes.docker.labels import labels_for, owner_of, read_mark
from algaenv.runtimes.docker.specs import ContainerSpec, VolumeSpec

# ruff: noqa: ARG002 - the signatures are the protocol's


class VolumeDriver:
    """Driver of `volume`."""

    def __init__(self, engine: Engine, environment: Environment) -> None:
        self._engine = engine
        self._environment = environment

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """A volume with this environment's mark. Raises Conflict (`name-taken`).

        The engine reports success for an existing volume of any owner, so it is looked up first.
        """
        body = resource.body
        assert isinstance(body, VolumeSpec)  # noqa: S101 - made by this runtime's lowering
        with translate_errors(f"make the volume {body.name}"):
            found = self._engine.find(f"/volumes/{quote(body.name)}")
            if found is None:
                labels = labels_for(self._environment, resource)
                self._engine.write(
                    "POST",
                    "/volumes/create",
                    {"Name": body.name, "Driver": "local", "Labels": labels},
                )
                return
        theirs = as_texts(found.get("Labels"))
        mark = read_mark(theirs)
        if mark is None or mark.environment != self._environment.id:
            raise Conflict(
                Problem(
                    "name-taken",
                    f"cannot make the volume {body.name}: one of that name is {owner_of(theirs)}",
                    f"remove it with `docker volume rm {body.name}`, which deletes its data",
                )
            )

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Do nothing: a volume has nothing but its name."""

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove it, with its data. Raises Conflict (`not-ours`, `volume-in-use`)."""
        name = seen.handle
        with translate_errors(f"remove the volume {name}"):
            found = self._engine.find(f"/volumes/{quote(name)}")
            if found is None:
                return
            mark = read_mark(as_texts(found.get("Labels")))
            if mark is None or mark.environment != self._environment.id:
                raise not_ours("volume", name)
            try:
                with ignore_missing():
                    self._engine.send("DELETE", f"/volumes/{quote(name)}")
            except Exception as error:
                if status_of(error) != CONFLICT:
                    raise
                raise self._in_use(name) from error

    def _in_use(self, name: str) -> Conflict:
        query = {"all": 1, "filters": {"volume": [name]}}
        users = [
            str(user).lstrip("/")
            for one in map(as_map, as_list(self._engine.get("/containers/json", query)))
            for user in as_list(one.get("Names"))[:1]
        ]
        return Conflict(
            Problem(
                "volume-in-use",
                f"cannot remove the volume {name}: {', '.join(users) or 'a container'} uses it",
                f"remove that container first with `docker rm {' '.join(users[:1])}`",
            )
        )


PREPARE: Final = "prepare"
"""Suffix of the name and the address of the helper container."""
_HEADERS: Final = 8192
"""Bytes that contain the header of an archive's first entry."""
_SECONDS: Final = 600
"""Timeout; a data directory may have many files."""


def give_directories(
    engine: Engine,
    environment: Environment,
    resource: Resource,
    container: str,
    on_progress: OnProgress,
) -> None:
    """Make the user of the resource's container the owner of all its `owned` directories.

    `container` was created and is not running yet. Raises Failed (`volume-owner`).
    """
    body = resource.body
    assert isinstance(body, ContainerSpec)  # noqa: S101 - made by this runtime's lowering
    if engine.facts.podman:
        # It tells the user of the container for every owner, and gives a new volume to the owner of
        # the directory in the image when it is mounted first. So it is mounted by the helper first.
        owners = dict.fromkeys(body.owned, -1)
    else:
        owners = {one: _owner(engine, container, one.path) for one in body.owned}
    fresh = [one for one, uid in owners.items() if uid == 0 != one.user.uid]
    others = [one for one, uid in owners.items() if uid not in {0, one.user.uid}]
    if not (fresh or others):
        return
    name = f"{body.name}-{PREPARE}"
    _remove(engine, name)
    image = usable_image(engine, body.image)
    address = kind.CONTAINER.address(f"{body.service}-{PREPARE}")
    marked = replace(resource, address=address)
    command = [*body.chown, str(body.user), *(one.path for one in others)]
    request = preparation_request(
        environment, marked, body, image.reference, image.id, command=command
    )
    made = create_container(engine, request, name)
    try:
        if others:
            on_progress(f"giving {', '.join(one.path for one in others)} to user {body.user}")
            _run(engine, made, body)
        if not engine.facts.podman:
            put_archive(engine, made, "/", owners_archive(body.owned))
    finally:
        _remove(engine, made)


def create_container(engine: Engine, request: Mapping[str, Any], name: str) -> str:
    """Create a container; returns its id. Raises as `Engine.get`."""
    made = engine.write("POST", "/containers/create", request, {"name": name})
    return str(as_map(made).get("Id"))


def put_archive(engine: Engine, container: str, path: str, content: bytes) -> None:
    """Unpack a tar archive into a directory of a container. Raises as `Engine.get`."""
    engine.write("PUT", f"/containers/{container}/archive", content, {"path": path})


def _owner(engine: Engine, container: str, path: str) -> int:
    """The uid of a directory in a container, from the first entry of its archive."""
    found = engine.read_prefix(f"/containers/{container}/archive", {"path": path}, _HEADERS)
    with tarfile.open(fileobj=io.BytesIO(found), mode="r|") as archive:
        first = archive.next()
    return first.uid if first else 0


def _run(engine: Engine, container: str, body: ContainerSpec) -> None:
    engine.send("POST", f"/containers/{container}/start")
    ended = as_map(engine.send("POST", f"/containers/{container}/wait", timeout=_SECONDS))
    if code := ended.get("StatusCode"):
        output = engine.api.logs(container).decode(errors="replace").strip().splitlines()
        raise Failed(
            Problem(
                "volume-owner",
                f"cannot give the data of {body.service} to user {body.user} (exit code {code})",
                f"look at what `docker volume inspect {body.mounts[0].source}` says of its driver",
                detail=tuple(output[-20:]),
            )
        )


def _remove(engine: Engine, container: str) -> None:
    with ignore_missing():
        engine.send("DELETE", f"/containers/{quote(container)}?v=1&force=1")
