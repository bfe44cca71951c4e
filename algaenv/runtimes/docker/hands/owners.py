"""Gives the directories of a container's volumes to the user who runs in it.

The top of a new volume is root's, and is given away before anything starts. What another user has
written, of an earlier version of this program or of another caller, is handed over by a container
that runs once, as root, without a network, and that may do nothing but that.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from algaenv.model.address import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Problem
from algaenv.model.resource import Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.body import ContainerBody
from algaenv.runtimes.docker.engine import Engine
from algaenv.runtimes.docker.images.local import usable_image
from algaenv.runtimes.docker.translate import gone_is_fine
from algaenv.runtimes.docker.wire import owners_archive, preparation_request

PREPARE: Final = "prepare"
"""Ends the name and the address of the container that hands over."""
_HEADERS: Final = 8192
"""Bytes within which an archive tells of its first entry."""
_SECONDS: Final = 600
"""What a data directory of many files may take."""


def give_directories(
    engine: Engine,
    environment: Environment,
    resource: Resource,
    container: str,
    on_progress: OnProgress,
) -> None:
    """See that all of `owned` of the resource's container belongs to its user.

    `container` is the one that was made and does not run yet. Raises Failed (`volume-owner`).
    """
    body = resource.body
    assert isinstance(body, ContainerBody)  # noqa: S101 - made by this runtime's lowering
    owners = {one: _owner(engine, container, one.path) for one in body.owned}
    fresh = [one for one, uid in owners.items() if uid == 0 != one.user.uid]
    others = [one for one, uid in owners.items() if uid not in {0, one.user.uid}]
    if not (fresh or others):
        return
    name = f"{body.name}-{PREPARE}"
    _remove(engine, name)
    image = usable_image(engine, body.image)
    address = Address("container", f"{body.service}-{PREPARE}")
    marked = replace(resource, address=address)
    command = [*body.chown, str(body.user), *(one.path for one in others)]
    request = preparation_request(
        environment, marked, body, image.reference, image.id, command=command
    )
    made = str(engine.api.create_container_from_config(request, name)["Id"])
    try:
        if others:
            on_progress(f"giving {', '.join(one.path for one in others)} to user {body.user}")
            _run(engine, made, body)
        engine.api.put_archive(made, "/", owners_archive(body.owned))
    finally:
        _remove(engine, made)


def _owner(engine: Engine, container: str, path: str) -> int:
    """The uid of a directory in a container, as the first entry of its archive tells it."""
    found = engine.peek(f"/containers/{container}/archive", {"path": path}, _HEADERS)
    with tarfile.open(fileobj=io.BytesIO(found), mode="r|") as archive:
        first = archive.next()
    return first.uid if first else 0


def _run(engine: Engine, container: str, body: ContainerBody) -> None:
    api: Any = engine.api
    api.start(container)
    code = api.wait(container, timeout=_SECONDS)["StatusCode"]
    if code:
        said = api.logs(container).decode(errors="replace").strip().splitlines()
        raise Failed(
            Problem(
                "volume-owner",
                f"cannot give the data of {body.service} to user {body.user} (exit code {code})",
                f"look at what `docker volume inspect {body.mounts[0].source}` says of its driver",
                detail=tuple(said[-20:]),
            )
        )


def _remove(engine: Engine, container: str) -> None:
    with gone_is_fine():
        engine.tell("DELETE", f"/containers/{quote(container)}?v=1&force=1")
