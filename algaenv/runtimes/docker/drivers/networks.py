"""Creates and removes the environment's network."""

# ruff: noqa: ARG002 - the signatures are the protocol's

from __future__ import annotations

from collections.abc import Mapping

from algaenv.model.address import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, Problem
from algaenv.model.resource import Json, Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import FORBIDDEN, ignore_missing, status_of, translate_errors
from algaenv.runtimes.docker.labels import labels_for, owner_of, read_mark
from algaenv.runtimes.docker.specs import NetworkSpec


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
            self._engine.api.create_network(
                body.name,
                driver="bridge",
                check_duplicate=True,
                labels=labels_for(self._environment, resource),
            )

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
