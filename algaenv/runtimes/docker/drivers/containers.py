"""Creates, starts and removes containers. Readiness is checked by probes elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from algaenv.model.address import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, Problem, Unavailable
from algaenv.model.resource import Json, Present, Resource
from algaenv.reconcile.protocols import OnProgress
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.create_request import container_request, files_archive, root_archive
from algaenv.runtimes.docker.drivers.diagnostics import (
    ContainerDiagnostics,
    diagnose_container,
    exited_error,
)
from algaenv.runtimes.docker.drivers.networks import not_ours
from algaenv.runtimes.docker.drivers.ports import port_conflict, unknown_holder_conflict
from algaenv.runtimes.docker.drivers.volumes import give_directories
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import (
    CONFLICT,
    ignore_missing,
    message_of,
    port_in,
    status_of,
    translate_errors,
)
from algaenv.runtimes.docker.images.availability import usable_image
from algaenv.runtimes.docker.specs import ETC, ContainerSpec

_REMOVAL_SECONDS: Final = 15


STATELESS = frozenset({"gateway", "runner"})
"""Services that may be killed: what the runner keeps is a cache, and is written atomically; the
gateway keeps nothing."""


class ContainerDriver:
    """Driver of `container`."""

    def __init__(self, engine: Engine, environment: Environment) -> None:
        self._engine = engine
        self._environment = environment

    def create(self, resource: Resource, on_progress: OnProgress) -> None:
        """Create and start it, replacing an incomplete or ended one of an earlier run.

        Raises Conflict (`port-taken`, `name-taken`), or Failed (`container-exited`) when it has
        ended already; then it is kept for diagnosis. Other failures leave nothing behind.
        """
        body = _body(resource)
        with translate_errors(f"make the container {body.name}"):
            self._remove_stale(body.name)
            if conflict := port_conflict(self._engine, body):
                raise conflict
            made = self._make(resource, body)
            try:
                self._install_files(made, resource, body, on_progress)
                self._start(made, body)
            except BaseException:
                self._remove(made)
                raise
        self._check(made, body)

    def update(self, resource: Resource, seen: Present, on_progress: OnProgress) -> None:
        """Start a stopped, unpause a paused, and restart a restarting container."""
        body = _body(resource)
        with translate_errors(f"start the container {body.name}"):
            found = self._engine.find(f"/containers/{seen.handle}/json")
            state = as_map(found.get("State")) if found else {}
            # One that never started may lack its files: a run died while creating it.
            if found is None or state.get("Status") == "created":
                self.create(resource, on_progress)
                return
            if state.get("Paused"):
                self._engine.api.unpause(seen.handle)
            elif state.get("Running"):
                self._engine.api.restart(seen.handle, timeout=body.stop_timeout)
            else:
                if conflict := port_conflict(self._engine, body):
                    raise conflict
                self._start(seen.handle, body)
        self._check(seen.handle, body)

    def delete(self, address: Address, seen: Present, on_progress: OnProgress) -> None:
        """Stop it within its timeout, then remove it with its anonymous volumes.

        Stateless services are killed.
        """
        with translate_errors(f"remove the container of {address}"):
            found = self._engine.find(f"/containers/{seen.handle}/json")
            if found is None:
                return
            if not self._is_ours(found):
                raise not_ours("container", _name(found))
            state = as_map(found.get("State"))
            if state.get("Paused"):  # A frozen process receives no signal.
                self._engine.api.unpause(seen.handle)
            if state.get("Running") and address.name not in STATELESS:
                on_progress(f"stopping {_name(found)}")
                with ignore_missing():
                    self._engine.send("POST", f"/containers/{seen.handle}/stop")
            self._remove(seen.handle)

    def describe(self, address: Address) -> ContainerDiagnostics | None:
        """The state of the container of `address`; None when there is none."""
        found = self._listed(address)
        return diagnose_container(self._engine, str(found.get("Id"))) if found else None

    def log_location(self, address: Address) -> str:
        """The command that prints it."""
        names = as_list(self._listed(address).get("Names"))
        return f"`docker logs {str(names[0]).lstrip('/')}`" if names else ""

    def _listed(self, address: Address) -> Mapping[str, Json]:
        query = {
            "all": 1,
            "filters": {
                "label": [
                    f"{labels.ENVIRONMENT}={self._environment.id}",
                    f"{labels.ADDRESS}={address}",
                ]
            },
        }
        with translate_errors(f"look at {address}"):
            found = as_list(self._engine.get("/containers/json", query))
        return as_map(found[0]) if found else {}

    def diagnostics(self, address: Address) -> tuple[str, ...] | None:
        """None while it runs; else how it ended or keeps restarting, and its last lines."""
        seen = self.describe(address)
        if seen is None:
            return ("its container is gone",)
        return None if seen.healthy else (seen.description, *seen.last_log_lines)

    def _remove_stale(self, name: str) -> None:
        found = self._engine.find(f"/containers/{quote(name)}/json")
        if found is None:
            return
        if not self._is_ours(found):
            owner = labels.owner_of(as_texts(as_map(found.get("Config")).get("Labels")))
            raise Conflict(
                Problem(
                    "name-taken",
                    f"cannot make the container {name}: one of that name is {owner}",
                    f"remove it with `docker rm -f {name}`, or change `name` in the spec",
                )
            )
        self._remove(str(found.get("Id")))

    def _make(self, resource: Resource, body: ContainerSpec) -> str:
        image = usable_image(self._engine, body.image)
        request = container_request(self._environment, resource, body, image.reference, image.id)
        made = self._engine.api.create_container_from_config(request, body.name)
        return str(made["Id"])

    def _install_files(
        self, container: str, resource: Resource, body: ContainerSpec, on_progress: OnProgress
    ) -> None:
        api = self._engine.api
        if body.user is None:
            if content := root_archive(body):
                api.put_archive(container, "/", content)
            return
        give_directories(self._engine, self._environment, resource, container, on_progress)
        if content := files_archive(body):
            api.put_archive(container, ETC, content)

    def _start(self, container: str, body: ContainerSpec) -> None:
        try:
            with ignore_missing():
                self._engine.api.start(container)
        except Exception as error:
            number = port_in(error)
            if number is None:
                raise
            conflict = port_conflict(self._engine, body) or unknown_holder_conflict(body, number)
            raise conflict from error

    def _check(self, container: str, body: ContainerSpec) -> None:
        """Check right after the start: most mistakes end a server at once."""
        seen = diagnose_container(self._engine, container)
        if seen is not None and not seen.healthy:
            raise exited_error(body.service, body.name, seen)

    def _remove(self, container: str) -> None:
        """Remove it and wait until its name and ports are free."""
        try:
            with ignore_missing():
                self._engine.send("DELETE", f"/containers/{container}?v=1&force=1")
        except Exception as error:
            if status_of(error) != CONFLICT or "in progress" not in message_of(error):
                raise
            self._await_removal(container)

    def _await_removal(self, container: str) -> None:
        from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

        def still_there() -> bool:
            return self._engine.find(f"/containers/{container}/json") is not None

        def give_up(_: object) -> bool:
            summary = "cannot make room: the engine has not ended an earlier removal"
            raise Unavailable(Problem("engine-slow", summary, "try again", detail=(container,)))

        Retrying(
            retry=retry_if_result(bool),
            wait=wait_fixed(0.1),
            stop=stop_after_delay(_REMOVAL_SECONDS),
            retry_error_callback=give_up,
        )(still_there)

    def _is_ours(self, found: Mapping[str, Json]) -> bool:
        texts = as_texts(as_map(found.get("Config")).get("Labels"))
        mark = labels.read_mark(texts)
        return mark is not None and mark.environment == self._environment.id


def _body(resource: Resource) -> ContainerSpec:
    assert isinstance(resource.body, ContainerSpec)  # noqa: S101 - made by this runtime's lowering
    return resource.body


def _name(found: Mapping[str, Json]) -> str:
    return str(found.get("Name", "")).lstrip("/")
