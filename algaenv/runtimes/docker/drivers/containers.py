"""Creates, starts, removes and diagnoses containers. Readiness is checked by probes elsewhere.

A diagnosis of a container that ended or keeps restarting has its state, exit code and last log
lines.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from algaenv.bundle.value import dataclass, replace
from algaenv.model.kind import Address
from algaenv.model.lock import Environment
from algaenv.model.problem import Conflict, Failed, Problem, Unavailable, is_full
from algaenv.model.resource import Json, Present, Resource
from algaenv.reconcile.protocols import LogReader, OnProgress
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.create_request import (
    container_request,
    files_archive,
    podman_request,
    root_archive,
)
from algaenv.runtimes.docker.drivers.networks import (
    not_ours,
    port_conflict,
    unknown_holder_conflict,
)
from algaenv.runtimes.docker.drivers.volumes import (
    create_container,
    give_directories,
    put_archive,
)
from algaenv.runtimes.docker.engine import Engine, as_list, as_map, as_texts
from algaenv.runtimes.docker.errors import (
    CONFLICT,
    EngineApiError,
    ignore_missing,
    message_of,
    port_in,
    status_of,
    translate_errors,
)
from algaenv.runtimes.docker.images.pull import usable_image
from algaenv.runtimes.docker.specs import ETC, ContainerSpec

_REMOVAL_SECONDS: Final = 15


STATELESS = frozenset({"gateway", "runner"})
"""Services that may be killed: what the runner keeps is a cache, and is written atomically; the
gateway keeps nothing."""
_LINES: Final = 20
_MAX_RESTARTS: Final = 3
"""Restarts by the engine after which a container that happens to run does not count as running."""
_SECRET_NAMES: Final = re.compile(r"SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_QUOTED: Final = re.compile(r'(?:requirepass|:) "([^"\n]+)"')
_LOGIN: Final = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
_FILES: Final = 1 << 18
"""Bytes of an archive of its files that are looked at."""
_MIN_SECRET_LENGTH: Final = 6
"""Characters; hiding shorter values would hide ordinary words of the log."""


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
                self._engine.send("POST", f"/containers/{seen.handle}/unpause")
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
                self._engine.send("POST", f"/containers/{seen.handle}/unpause")
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

    def log_reader(self, address: Address) -> LogReader:
        """Reads it from the engine; it is gone with the container."""
        from algaenv.runtimes.docker.logs import ContainerLogReader

        return ContainerLogReader(self._engine, lambda: self._listed(address))

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
        if self._engine.facts.podman:
            request = podman_request(request)
        return create_container(self._engine, request, body.name)

    def _install_files(
        self, container: str, resource: Resource, body: ContainerSpec, on_progress: OnProgress
    ) -> None:
        if body.user is None:
            if content := root_archive(body):
                put_archive(self._engine, container, "/", content)
            return
        give_directories(self._engine, self._environment, resource, container, on_progress)
        if content := files_archive(body):
            put_archive(self._engine, container, ETC, content)

    def _start(self, container: str, body: ContainerSpec) -> None:
        try:
            with ignore_missing():
                self._engine.send("POST", f"/containers/{container}/start")
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


@dataclass(frozen=True, slots=True)
class ContainerDiagnostics:
    """`state` is the engine's: created, running, restarting, exited, dead, …

    `exit_code` is the latest one, and meaningless while the container runs. The log is read only of
    an unhealthy container, since this is polled while a service starts.
    """

    state: str
    exit_code: int
    restarts: int
    out_of_memory: bool
    last_log_lines: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """It runs, and has not been started again and again by the engine."""
        return self.state in ("running", "paused") and self.restarts < _MAX_RESTARTS

    @property
    def description(self) -> str:
        """How it ended, in words."""
        if self.state in ("restarting", "running"):
            return f"keeps restarting, last with exit code {self.exit_code}"
        why = "for want of memory " if self.out_of_memory else ""
        return f"ended {why}with exit code {self.exit_code}"


def diagnose_container(engine: Engine, container: str) -> ContainerDiagnostics | None:
    """The diagnostics of a container by id or name; None when it is gone."""
    with translate_errors(f"look at the container {container}"):
        found = engine.find(f"/containers/{container}/json")
        if found is None:
            return None
        state = as_map(found.get("State"))
        seen = ContainerDiagnostics(
            state=str(state.get("Status", "")),
            exit_code=_number(state.get("ExitCode")),
            restarts=_number(found.get("RestartCount")),
            out_of_memory=bool(state.get("OOMKilled")),
        )
        return seen if seen.healthy else replace(seen, last_log_lines=_log(engine, found))


def exited_error(service: str, name: str, seen: ContainerDiagnostics) -> Failed:
    """The error for an unhealthy container (`container-exited`, `engine-disk-full`)."""
    if is_full(seen.last_log_lines):
        return Failed(
            Problem(
                "engine-disk-full",
                f"cannot keep {service} running: it {seen.description}, for the disk is full",
                "make room where the engine keeps volumes (`docker system df` shows what is there)",
                detail=seen.last_log_lines,
            )
        )
    return Failed(
        Problem(
            "container-exited",
            f"cannot keep {service} running: it {seen.description}",
            f"read all of it with `docker logs {name}`",
            detail=seen.last_log_lines,
        )
    )


def _log(engine: Engine, found: Mapping[str, Json]) -> tuple[str, ...]:
    text: bytes = engine.api.logs(str(found.get("Id")), stdout=True, stderr=True, tail=_LINES)
    hidden = sorted({*_secrets(found), *_secrets_in_files(engine, found)}, key=len, reverse=True)
    lines = []
    for line in text.decode(errors="replace").splitlines()[-_LINES:]:
        for secret in hidden:
            line = line.replace(secret, "***")  # noqa: PLW2901
        lines.append(line.rstrip())
    return tuple(lines)


def _secrets(found: Mapping[str, Json]) -> list[str]:
    """Secret values of its environment, which a server might log."""
    pairs = (str(one).partition("=") for one in as_list(as_map(found.get("Config")).get("Env")))
    return [
        value
        for name, _, value in pairs
        if _SECRET_NAMES.search(name) and len(value) >= _MIN_SECRET_LENGTH
    ]


def _secrets_in_files(engine: Engine, found: Mapping[str, Json]) -> Iterator[str]:
    """Secrets of its files: whole files, JSON strings and quoted strings."""
    try:
        content = engine.read_prefix(
            f"/containers/{found.get('Id')}/archive", {"path": ETC}, _FILES
        )
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
            files = [
                it.read().decode(errors="replace") for it in map(archive.extractfile, archive) if it
            ]
    except (EngineApiError, tarfile.TarError):
        return  # There are none.
    for text in files:
        words = [text.strip(), *_QUOTED.findall(text)]
        words += [unquote(word) for word in _LOGIN.findall(text)]
        yield from (word for word in words if len(word) >= _MIN_SECRET_LENGTH)


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
