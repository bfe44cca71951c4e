"""The Docker runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from algaenv.model import kind
from algaenv.model.lock import LOOPBACK, Environment, Lock
from algaenv.model.pins import ServicePin
from algaenv.model.plan import Blocked, Change
from algaenv.model.problem import Problem, ResolveError
from algaenv.model.resource import Resource
from algaenv.reconcile.protocols import (
    ClientVariables,
    Lowered,
    Observer,
    OnProgress,
    ResourceDriver,
    ServiceProgram,
)
from algaenv.runtimes.binaries import cache_home
from algaenv.runtimes.docker import labels
from algaenv.runtimes.docker.author_containers import author_images, with_author_services
from algaenv.runtimes.docker.endpoint import Remote, locate
from algaenv.runtimes.docker.engine import (
    Engine,
    EngineFacts,
    as_list,
    as_map,
    as_texts,
    remote_engine_problem,
)
from algaenv.runtimes.docker.errors import translate_errors
from algaenv.runtimes.docker.image_selection import (
    ExistingResources,
    ImageSelector,
    service_pin,
)
from algaenv.runtimes.docker.labels import read_mark
from algaenv.runtimes.docker.lower import ImageChoice, lower
from algaenv.runtimes.docker.observer import DockerObserver
from algaenv.runtimes.docker.specs import ContainerSpec, ImageSpec
from algaenv.runtimes.services import ServiceName


class DockerRuntime:
    """Services as containers of the engine that `environ` points to.

    `cache` keeps hashes and paths between runs; by default the user's cache directory. `facts` are
    those of the engine, where they are known. The constructor opens no connection. `close` it when
    done, or let it be collected.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        cache: Path | None = None,
        facts: EngineFacts | None = None,
    ) -> None:
        self.engine = Engine(locate(environ), environ, facts)
        self._environ = environ
        self._cache = cache or cache_home(environ)
        self._own_hashes: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`docker`."""
        return "docker"

    def lower(self, lock: Lock, on_progress: OnProgress) -> Lowered:
        """See `reconcile.protocols.Runtime`; asks registries only when `images: auto` must."""
        return with_author_services(lower(lock, self._choices(lock, on_progress)), lock)

    def images(self, lock: Lock) -> Mapping[str, ImageSpec]:
        """The image of each service; of `lock` only environment and intent count."""
        choices = self._choices(lock, lambda _line: None)
        images: dict[str, ImageSpec] = {name: it.image for name, it in choices.items()}
        return images | dict(author_images(lock))

    def pins(self, lock: Lock) -> Sequence[ServicePin]:
        """The images, by digest."""
        choices = self._choices(lock, lambda _line: None)
        with translate_errors("look at the digests of images"):
            return [service_pin(self.engine, lock, *it) for it in choices.items()]

    def _choices(self, lock: Lock, on_progress: OnProgress) -> Mapping[ServiceName, ImageChoice]:
        endpoint = self.engine.endpoint
        if isinstance(endpoint, Remote) and not endpoint.is_local:
            raise ResolveError(remote_engine_problem(endpoint))
        with translate_errors("look at what the containers of this environment were made of"):
            left = self._existing(lock.environment)
            selector = ImageSelector(
                self.engine,
                lock,
                left,
                environ=self._environ,
                cache=self._cache,
                on_progress=on_progress,
                own_hashes=self._own_hashes,
            )
            return selector.select()

    def obstacles(self, environment: Environment, changes: Sequence[Change]) -> tuple[Blocked, ...]:
        """Ports that others hold (`port-taken`); the engine itself keeps names unique."""
        if not any(change.resource and change.address in kind.CONTAINER for change in changes):
            return ()
        from algaenv.runtimes.docker.drivers.networks import port_obstacles

        with translate_errors("look at the ports of other containers"):
            return port_obstacles(self.engine, environment, changes)

    def observer(self, environment: Environment) -> Observer:
        """See `reconcile.protocols.Runtime`."""
        return DockerObserver(self.engine, environment.id)

    def program(
        self, service: Resource, words: Sequence[str], clients: ClientVariables, *, tty: bool
    ) -> ServiceProgram:
        """Inside the container, by `docker exec`, which takes values from its own variables."""
        import shutil

        body = service.body
        if not isinstance(body, ContainerSpec):
            raise TypeError(body)
        docker = shutil.which("docker", path=self._environ.get("PATH"))
        if docker is None:
            raise ResolveError(
                Problem(
                    "docker-program-missing",
                    "cannot run a program in a container: there is no program docker on PATH",
                    "install the command line of Docker",
                )
            )
        variables = clients(LOOPBACK, {it.name: it.container for it in body.ports})
        named = [word for name in variables for word in ("--env", name)]
        flags = ["--interactive", *(["--tty"] if tty else [])]
        return ServiceProgram((docker, "exec", *flags, *named, body.name, *words), variables)

    def drivers(self, environment: Environment) -> Mapping[str, ResourceDriver]:
        """The drivers of `network`, `volume`, `image` and `container`."""
        # Imported here: a no-op run needs no drivers.
        from algaenv.runtimes.docker.drivers.containers import ContainerDriver
        from algaenv.runtimes.docker.drivers.images import ImageDriver
        from algaenv.runtimes.docker.drivers.networks import NetworkDriver
        from algaenv.runtimes.docker.drivers.volumes import VolumeDriver

        return {
            kind.NETWORK.name: NetworkDriver(self.engine, environment),
            kind.VOLUME.name: VolumeDriver(self.engine, environment),
            kind.IMAGE.name: ImageDriver(self.engine, self._cache),
            kind.CONTAINER.name: ContainerDriver(self.engine, environment),
        }

    def close(self) -> None:
        """Close the connections to the engine."""
        self.engine.close()

    def _existing(self, environment: Environment) -> ExistingResources:
        query = {"filters": {"label": [f"{labels.ENVIRONMENT}={environment.id}"]}}
        images: dict[str, str] = {}
        users: set[str] = set()
        for one in as_list(self.engine.get("/containers/json", {"all": 1, **query})):
            mark = read_mark(as_texts(as_map(one).get("Labels")))
            if mark is not None and mark.address in kind.CONTAINER:
                images[mark.address.name] = str(mark.inputs.get("image", ""))
                users.add(str(mark.inputs.get("user", "")))
        volumes = as_list(as_map(self.engine.get("/volumes", query)).get("Volumes"))
        names = frozenset(str(as_map(one).get("Name")) for one in volumes)
        return ExistingResources(images, names, frozenset(users))
