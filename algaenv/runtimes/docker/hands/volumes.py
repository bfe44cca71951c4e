"""Makes and removes volumes: the only things here whose loss cannot be mended."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from urllib.parse import quote

from algaenv.model.address import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.body import VolumeBody
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.hands.networks import not_ours
from algaenv.runtimes.docker.labels import labels_for, owner_of, read_mark
from algaenv.runtimes.docker.translate import CONFLICT, asking, gone_is_fine, status_of


class VolumeHands:
    """Hands for `volume`."""

    def __init__(self, engine: Engine, environment: Environment) -> None:
        self._engine = engine
        self._environment = environment

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """A volume with this environment's mark. Raises Conflict (`name-taken`).

        The engine takes making one that exists for success, whoever made it; so it is looked for.
        """
        body = resource.body
        assert isinstance(body, VolumeBody)  # noqa: S101 - made by this runtime's lowering
        with asking(f"make the volume {body.name}"):
            found = self._engine.find(f"/volumes/{quote(body.name)}")
            if found is None:
                labels = labels_for(self._environment, resource)
                self._engine.api.create_volume(body.name, driver="local", labels=labels)
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
        """A volume is its name; there is nothing about it to change."""

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Remove it, with its data. Raises Conflict (`not-ours`, `volume-in-use`)."""
        name = seen.handle
        with asking(f"remove the volume {name}"):
            found = self._engine.find(f"/volumes/{quote(name)}")
            if found is None:
                return
            mark = read_mark(as_texts(found.get("Labels")))
            if mark is None or mark.environment != self._environment.id:
                raise not_ours("volume", name)
            try:
                with gone_is_fine():
                    self._engine.tell("DELETE", f"/volumes/{quote(name)}")
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
