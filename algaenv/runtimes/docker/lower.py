"""Lowers a lock and the selected images to network, volume, image and container resources. Pure.

Everything that may differ between machines (image, recipe, program) has been decided by
`image_selection` and comes in as one `ImageChoice` per service.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

import algaenv
from algaenv.bundle.value import dataclass, field
from algaenv.model import kind
from algaenv.model.intent import BundledGateway, ExternalDatabase, Profile
from algaenv.model.kind import Tier
from algaenv.model.lock import LOOPBACK, Lock
from algaenv.model.resource import Json, Resource, ServiceEngine
from algaenv.model.secret import Secret
from algaenv.reconcile.protocols import Lowered
from algaenv.runtimes.author_services import container_port
from algaenv.runtimes.binaries import engine_name
from algaenv.runtimes.docker.specs import (
    ETC,
    ContainerSpec,
    ImageSpec,
    ImageUser,
    MountPoint,
    NetworkSpec,
    OwnedDirectory,
    Port,
    VolumeSpec,
)
from algaenv.runtimes.environments import (
    GATEWAY_SECRETS,
    SETTINGS,
    SHARED_CODE,
    RenderedProfile,
    database_url,
    fill_template,
    gateway_environment,
    profile_values,
    render_container,
    runner_environment,
    settings_files,
)
from algaenv.runtimes.services import (
    RUNNER_SECRETS,
    ServiceName,
    Values,
    flat_inputs,
    own_ports,
    probes,
)

NETWORK: Final = kind.NETWORK.address("main")
CACHE: Final = "/cache"
SHARED: Final = "/shared"
RUNNER_PORT: Final = 8080
HOST_GATEWAY: Final = "host.docker.internal"
GATEWAY_PORT: Final = 3000
SERVICES: Final[tuple[ServiceName, ...]] = ("store", "redis", "database", "runner", "gateway")
ROOT: Final = ImageUser(0, 0)
ALL_INTERFACES: Final = "0.0.0.0"  # noqa: S104 - inside the container; published on loopback only
# Needed by entry points of well-known images: they start as root, chown their data and drop root.
ENTRYPOINT_CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
_STOP_SECONDS: Final[Mapping[str, int]] = {
    "store": 15,
    "redis": 15,
    "database": 30,
    "runner": 10,
    "gateway": 10,
}


LIMITS: Final[Mapping[str, int]] = {
    "store.memory": 2 << 30,
    "store.pids": 2048,
    "redis.memory": 1 << 30,
    "redis.pids": 256,
    "database.memory": 2 << 30,
    "database.pids": 1024,
    # It has a worker per core, and each of them runs guests that may grow.
    "runner.memory": 8 << 30,
    "runner.pids": 8192,
    "gateway.memory": 1 << 30,
    "gateway.pids": 512,
}
"""Default limits of containers: enough for any use, and an end to runaway processes."""


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """The image selected for a service, and what it implies for the container.

    `profile` is None for runner and gateway. `note` describes the origin of the image; `version` is
    that of the program in it, if known. `user` runs the program in an image of ours; None leaves it
    to the image. `chown` and `healthcheck` are as in ContainerSpec. `kept` names the data format of
    the volume: data of another engine, or of an image built elsewhere, is never mounted.
    `environment` holds templates, as a profile's does.
    """

    image: ImageSpec
    profile: Profile | None
    note: str
    version: str = ""
    user: ImageUser | None = None
    chown: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    read_only: bool = False
    kept: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, str] = field(default_factory=dict)


def lower(lock: Lock, choices: Mapping[ServiceName, ImageChoice]) -> Lowered:
    """The substrate of `lock`. Raises ResolveError when a profile's templates do not hold."""
    wanted = _wanted(lock)
    resources = [_network(lock)]
    for service in wanted:
        choice = choices[service]
        if service == "runner":
            body = runner = _runner(lock, choice, choices)
        elif service == "gateway":
            body = _gateway(lock, choice, choices, runner.environment)
        else:
            body = _server(lock, service, choice)
        volumes = [mount.source for mount in body.mounts if mount.kind == "volume"]
        resources += [_image(service, choice)]
        resources += [_volume(service, name) for name in volumes]
        resources += [_container(lock, body, with_volume=bool(volumes))]
    return Lowered(
        tuple(resources),
        {name: kind.CONTAINER.address(name) for name in wanted},
        tuple(_engine(name, choices[name]) for name in wanted),
    )


def _engine(service: ServiceName, choice: ImageChoice) -> ServiceEngine:
    if choice.profile is not None:
        name = engine_name(choice.profile)
    else:
        name = "bundled" if choice.version == algaenv.__version__ else "image"
    return ServiceEngine(service, name, choice.version, choice.note)


def _wanted(lock: Lock) -> list[ServiceName]:
    """The services to run; the gateway comes after the runner, whose tokens it shares."""
    without: set[ServiceName] = set()
    if isinstance(lock.intent.database, ExternalDatabase):
        without.add("database")
    if not isinstance(lock.intent.gateway, BundledGateway):
        without.add("gateway")
    return [name for name in SERVICES if name not in without]


def container_name(lock: Lock, service: str) -> str:
    """`<environment's name>-<first six digits of its id>-<service>`."""
    return f"{lock.environment.name}-{lock.environment.id[:6]}-{service}"


def network_name(lock: Lock) -> str:
    """Named by the id alone, as volumes are: a renamed environment keeps both."""
    return f"algaenv-{lock.environment.id}"


def container_url(url: str) -> str:
    """`url` with this machine's names replaced by the name it has inside containers."""
    parts = urlsplit(url)
    if parts.hostname not in {"localhost", LOOPBACK, "::1", ALL_INTERFACES}:
        return url
    user, at, _ = parts.netloc.rpartition("@")
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{user}{at}{HOST_GATEWAY}{port}"))


def _network(lock: Lock) -> Resource:
    body = NetworkSpec(network_name(lock))
    inputs: dict[str, Json] = {"name": body.name, "driver": "bridge"}
    return Resource(NETWORK, Tier.SUBSTRATE, inputs, body, replaced=True)


def _image(service: ServiceName, choice: ImageChoice) -> Resource:
    inputs: dict[str, Json] = {"image": choice.image.title}
    address = kind.IMAGE.address(service)
    return Resource(address, Tier.SUBSTRATE, inputs, choice.image, retained=True)


def _volume(service: ServiceName, name: str) -> Resource:
    inputs: dict[str, Json] = {"name": name}
    address = kind.VOLUME.address(service)
    return Resource(address, Tier.SUBSTRATE, inputs, VolumeSpec(name), retained=True)


def _container(lock: Lock, body: ContainerSpec, *, with_volume: bool) -> Resource:
    needs = [NETWORK, kind.IMAGE.address(body.service)]
    if with_volume:
        needs.append(kind.VOLUME.address(body.service))
    if body.service == "runner":
        needs += [kind.CONTAINER.address("store"), kind.CONTAINER.address("redis")]
    if body.service == "gateway":
        others = ("database", "redis", "runner")
        needs += [kind.CONTAINER.address(name) for name in _wanted(lock) if name in others]
    return Resource(
        kind.CONTAINER.address(body.service),
        Tier.SUBSTRATE,
        inputs_of(lock, body),
        body,
        tuple(needs),
        probes(lock)[_service(body.service)],
        replaced=True,
    )


def _service(name: str) -> ServiceName:
    return next(service for service in SERVICES if service == name)


def _server(lock: Lock, service: ServiceName, choice: ImageChoice) -> ContainerSpec:
    profile = choice.profile
    assert profile is not None, service  # noqa: S101 - selection gives every server a profile
    main = next(iter(profile.ports.values()))
    values = profile_values(
        lock,
        service,
        host=ALL_INTERFACES,
        port=main,
        data=profile.data,
        etc=ETC,
        console_port=profile.ports.get("console", 0),
    )
    rendered = render_container(profile, values)
    owner = choice.user or ImageUser(profile.uid, profile.uid)
    mounts = (
        (MountPoint("volume", volume_name(lock, service, choice), profile.data),)
        if service != "redis" or lock.intent.redis.persistent
        else ()
    )
    mode = 0o700 if choice.user else 0o750
    owned = tuple(OwnedDirectory(mount.target, owner, mode) for mount in mounts if owner.uid)
    return ContainerSpec(
        name=container_name(lock, service),
        service=service,
        image=choice.image,
        network=network_name(lock),
        command=rendered.command,
        environment=_environment(choice, rendered, values),
        secrets_by="",
        files=rendered.files,
        file_owner=owner,
        user=choice.user,
        chown=choice.chown,
        healthcheck=choice.healthcheck,
        ports=_ports(lock, service, profile),
        mounts=mounts,
        owned=owned,
        capabilities=() if choice.user else ENTRYPOINT_CAPABILITIES,
        read_only=choice.read_only,
        memory=_limit(lock, service, "memory"),
        pids=_limit(lock, service, "pids"),
        tmpfs=choice.tmpfs
        if mounts
        else {**choice.tmpfs, **_temporary_data(profile.data, choice.user)},
        host_names=(),
        init=False,
        stop_signal=profile.stop_signal,
        stop_timeout=_STOP_SECONDS[service],
    )


def _limit(lock: Lock, service: str, what: Literal["memory", "pids"]) -> int:
    name = f"{service}.{what}"
    return lock.intent.limits.get(name, LIMITS[name])


def _temporary_data(place: str, user: ImageUser | None) -> Mapping[str, str]:
    """A tmpfs for data that need not outlive its container, in an image of ours."""
    if user is None:
        return {}
    return {place: f"rw,nosuid,nodev,noexec,mode=0700,uid={user.uid},gid={user.gid}"}


def _environment(choice: ImageChoice, rendered: RenderedProfile, values: Values) -> Values:
    ours = {name: fill_template(template, values) for name, template in choice.environment.items()}
    return {**rendered.environment, **ours}


def _ports(lock: Lock, service: ServiceName, profile: Profile) -> tuple[Port, ...]:
    numbers = {
        "api": lock.ports.store,
        "console": lock.ports.console,
        "main": lock.ports.redis if service == "redis" else lock.ports.database,
    }
    return tuple(
        Port(name, numbers[name], inside)
        for name, inside in profile.ports.items()
        if numbers.get(name)
    )


def _runner(
    lock: Lock, choice: ImageChoice, choices: Mapping[ServiceName, ImageChoice]
) -> ContainerSpec:
    # What runs in one environment is not to be trusted in another where each has its own user.
    shares = choice.user is not None and not choice.user.is_of_one_environment
    environment = runner_environment(
        lock,
        store_url=f"http://store:{_inside(choices['store'])}",
        redis_host="redis",
        redis_port=_inside(choices["redis"]),
        app_url=f"http://gateway:{GATEWAY_PORT}"
        if isinstance(lock.intent.gateway, BundledGateway)
        else container_url(lock.intent.app_url),
        cache=CACHE,
        shared_code=SHARED if shares else "",
        host=ALL_INTERFACES,
        port=RUNNER_PORT,
        own=_own_addresses(lock, choices),
        otel_endpoint=_otel_endpoint(lock),
    )
    cache = MountPoint("volume", volume_name(lock, "runner", choice), CACHE)
    extra = tuple(extra_mount(lock, text) for text in lock.intent.runner.volumes)
    # The user of a foreign image is unknown, and the cache is its own anyway.
    owned = OwnedDirectory(CACHE, choice.user or ROOT, 0o700 if choice.user else 0o1777)
    mounts: tuple[MountPoint, ...] = (cache, *extra)
    owners: tuple[OwnedDirectory, ...] = (owned,)
    if choice.user and shares:
        name = f"algaenv-{SHARED_CODE}-{choice.user.uid}"
        mounts = (cache, MountPoint("shared", name, SHARED), *extra)
        owners = (owned, OwnedDirectory(SHARED, choice.user, 0o700))
    return ContainerSpec(
        name=container_name(lock, "runner"),
        service="runner",
        image=choice.image,
        network=network_name(lock),
        command=(),
        environment=environment,
        # Whether a foreign image reads a file of secrets is unknown.
        secrets_by=RUNNER_SECRETS if choice.user else "",
        files={},
        file_owner=choice.user or ROOT,
        user=choice.user,
        chown=choice.chown,
        healthcheck=choice.healthcheck,
        ports=(Port("main", lock.ports.runner, RUNNER_PORT),),
        mounts=mounts,
        owned=owners,
        capabilities=() if choice.user else ENTRYPOINT_CAPABILITIES,
        read_only=choice.read_only,
        memory=_limit(lock, "runner", "memory"),
        pids=_limit(lock, "runner", "pids"),
        tmpfs=choice.tmpfs,
        host_names=(f"{HOST_GATEWAY}:host-gateway",),
        init=True,
        stop_signal="SIGTERM",
        stop_timeout=_STOP_SECONDS["runner"],
    )


def _otel_endpoint(lock: Lock) -> str:
    otel = lock.intent.otel
    return "" if otel is None else container_url(otel.endpoint)


def _own_addresses(lock: Lock, choices: Mapping[ServiceName, ImageChoice]) -> Iterator[str]:
    """Addresses of the services as containers see them: by name, and through the host."""
    for service, choice in choices.items():
        yield f"{service}:{GATEWAY_PORT if service == 'gateway' else _inside(choice)}"
    for own in lock.intent.services:
        yield from (f"{own.name}:{container_port(lock, own, port)}" for port in own.ports)
    yield from (f"{HOST_GATEWAY}:{port}" for port in sorted(own_ports(lock)))


def _gateway(
    lock: Lock, choice: ImageChoice, choices: Mapping[ServiceName, ImageChoice], runner: Values
) -> ContainerSpec:
    if "database" in choices:
        url = database_url(lock, host="database", port=_inside(choices["database"]))
    else:
        url = Secret(container_url(database_url(lock, host="", port=0).reveal()))
    files = settings_files(lock)
    environment = gateway_environment(
        lock,
        runner=runner,
        runner_url=f"http://runner:{RUNNER_PORT}",
        database_url=url,
        host=ALL_INTERFACES,
        port=GATEWAY_PORT,
        settings=f"{ETC}/{SETTINGS}" if files else "",
        otel_endpoint=_otel_endpoint(lock),
    )
    return ContainerSpec(
        name=container_name(lock, "gateway"),
        service="gateway",
        image=choice.image,
        network=network_name(lock),
        command=(),
        environment=environment,
        secrets_by=GATEWAY_SECRETS,
        files=files,
        file_owner=choice.user or ROOT,
        user=choice.user,
        chown=choice.chown,
        healthcheck=choice.healthcheck,
        ports=(Port("main", lock.ports.gateway, GATEWAY_PORT),),
        mounts=(),
        owned=(),
        capabilities=(),
        read_only=choice.read_only,
        memory=_limit(lock, "gateway", "memory"),
        pids=_limit(lock, "gateway", "pids"),
        tmpfs=choice.tmpfs,
        host_names=(f"{HOST_GATEWAY}:host-gateway",),
        init=True,
        stop_signal="SIGTERM",
        stop_timeout=_STOP_SECONDS["gateway"],
    )


def _inside(choice: ImageChoice) -> int:
    """The port inside the network: the first of the profile."""
    return next(iter(choice.profile.ports.values())) if choice.profile else RUNNER_PORT


def volume_name(lock: Lock, service: ServiceName, choice: ImageChoice) -> str:
    """Named by the environment's id, the service, and the data format."""
    suffix = f"-{choice.kept}" if choice.kept else ""
    return f"algaenv-{lock.environment.id}-{service}{suffix}"


def extra_mount(lock: Lock, text: str) -> MountPoint:
    """`source:target[:ro]`; a relative source starts where the spec is."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    return MountPoint("bind", str(lock.environment.spec.parent / source), target, mode == "ro")


def inputs_of(lock: Lock, body: ContainerSpec) -> dict[str, Json]:
    """The inputs that decide whether a container must be recreated, one readable field each."""
    key = lock.credentials.fingerprint_key
    fields: dict[str, Json] = {
        "name": body.name,
        "image": body.image.title,
        "network": body.network,
        "user": str(body.user or ""),
        "secrets": body.secrets_by or "environment",
        "command": shlex.join(body.command),
        "capabilities": ",".join(body.capabilities),
        "read_only": body.read_only,
        "limits.memory": body.memory,
        "limits.pids": body.pids,
        "init": body.init,
        "stop_signal": body.stop_signal,
        "stop_timeout": body.stop_timeout,
    }
    fields |= flat_inputs("env", body.environment, key)
    fields |= flat_inputs("files", body.files, key)
    fields |= {f"ports.{port.name}": str(port) for port in body.ports}
    fields |= {f"mounts.{mount.target}": str(mount) for mount in body.mounts}
    fields |= {f"owner.{owned.path}": f"{owned.user.uid}:{owned.mode:o}" for owned in body.owned}
    fields |= {f"tmpfs.{path}": options for path, options in body.tmpfs.items()}
    fields |= {f"hosts.{line.partition(':')[0]}": line for line in body.host_names}
    return fields
