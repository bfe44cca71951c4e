"""The intent with everything resolved: bundles built and hashed, ports and secrets chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import LOCAL_PUBLISHER
from algaenv.bundle.manifest.model import Manifest
from algaenv.bundle.value import dataclass, field
from algaenv.model.intent import ExtensionIntent, Intent
from algaenv.model.problem import Problem
from algaenv.model.secret import Secret

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Environment:
    """The identity of an environment.

    `id` is ten hex digits over the absolute path that the spec had when it was first brought up: a
    copy elsewhere is another environment, and a moved or renamed one is still the same. `home` is
    its private directory, `.algaenv/<id>`, 0700.
    """

    id: str
    name: str
    spec: Path
    home: Path


@dataclass(frozen=True, slots=True)
class LifetimeChange:
    """What an `up` says about the end of its environment; None leaves what an earlier one said.

    `ttl` is in seconds, 0 for no limit. `owner` is a name of `system.processes.process_name`, empty
    for none. `volumes`: whether the data goes with the environment.
    """

    ttl: float | None = None
    owner: str | None = None
    owner_pid: int = 0
    volumes: bool = False


@dataclass(frozen=True, slots=True)
class OrphanedState:
    """An unused state directory of another spec, beside that of a spec.

    `copied`: its own spec still exists elsewhere, so this is a copy. `size` is in bytes. `here`:
    its spec was in this directory, and was renamed or removed.
    """

    environment: Environment
    size: int
    copied: bool
    here: bool


@dataclass(frozen=True, slots=True)
class LockedExtension:
    """An extension whose bundle exists as a file."""

    intent: ExtensionIntent
    manifest: Manifest
    digest: Digest
    size: int
    archive: Path
    page_sha256: str | None
    """SHA-256 of the bundle's ui/index.html; None when it has no UI."""

    @property
    def name(self) -> str:
        """The key in the spec."""
        return self.intent.name

    @property
    def publisher(self) -> str:
        """As in the manifest, or `local-dev`, as Alga's own installer assumes."""
        return self.manifest.publisher or LOCAL_PUBLISHER


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the services; 0 for an external database, and for a console or a gateway that
    does not exist."""

    store: int
    console: int
    redis: int
    database: int
    runner: int
    gateway: int
    services: Mapping[str, int] = field(default_factory=dict)
    """`<service>.<port>` → number, of the author's own services."""


@dataclass(frozen=True, slots=True)
class ServiceUrls:
    """The URLs of the services from this machine, without secrets or a trailing slash.

    No other module of the core spells them. Those of services that do not exist have the port 0.
    """

    store: str
    console: str
    redis: str
    runner: str
    gateway: str

    @classmethod
    def of(cls, host: str, ports: Ports) -> ServiceUrls:
        """The URLs of services at these ports of `host`."""
        return cls(
            store=f"http://{host}:{ports.store}",
            console=f"http://{host}:{ports.console}",
            redis=f"redis://{host}:{ports.redis}",
            runner=f"http://{host}:{ports.runner}",
            gateway=f"http://{host}:{ports.gateway}",
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """Given in the spec, or generated once and kept in the environment's home."""

    access_key: Secret
    secret_key: Secret
    redis_password: Secret | None
    database_password: Secret
    auth_key: Secret
    """The runner's key for Alga's registry (`ALGA_AUTH_KEY`)."""
    service_token: Secret
    """The runner's token for Alga's internal APIs (`RUNNER_STORAGE_API_TOKEN`)."""
    fingerprint_key: Secret
    """Keys the digests that stand for secrets in fingerprints."""


@dataclass(frozen=True, slots=True)
class BrokenExtension:
    """An extension that has no bundle now; what is installed of it stays as it is.

    `error` is the class name of the exception that carried the problems.
    """

    name: str
    problems: tuple[Problem, ...]
    error: str


@dataclass(frozen=True, slots=True)
class SeedFiles:
    """What the files of the seeds hold."""

    sql: Mapping[str, bytes] = field(default_factory=dict)
    """Name of a seed → its text."""
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """`bucket/prefix` of a seed → relative path → SHA-256, lower hex."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything the plan needs to know."""

    environment: Environment
    intent: Intent
    ports: Ports
    credentials: Credentials
    extensions: tuple[LockedExtension, ...]
    tenant_id: str = ""
    """The tenant's id of the last run; empty when unknown or no longer valid."""
    broken: tuple[BrokenExtension, ...] = ()
    only: tuple[str, ...] | None = None
    """The extensions that this run is about; None: all of them. Others stay as they are."""

    dev_servers: Mapping[str, str] = field(default_factory=dict)
    """Registry id → `ui_dev_server` of extensions that this run leaves as they are."""
    seed_files: SeedFiles | None = None
    """None: this run is not about seeds of SQL and objects, which stay as they are."""
    host: str = LOOPBACK
    """Where the services are reached from this machine."""

    @property
    def urls(self) -> ServiceUrls:
        """The URLs of the services from this machine."""
        return ServiceUrls.of(self.host, self.ports)

    def is_about(self, extension: str) -> bool:
        """Whether rows and bundles of this name may be changed or removed.

        `hello~1a2b3c4d` is what the extension `hello` was before its manifest got another name.
        """
        name = extension.partition("~")[0]
        if self.only is not None and name not in self.only:
            return False
        if any(it.name == name for it in self.intent.inactive):
            return False
        return all(it.name != name for it in self.broken)
