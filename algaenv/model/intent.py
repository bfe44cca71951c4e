"""The intent: the spec after `extends`, overlay, variables and defaults, as values.

The pydantic models that read the file live in `algaenv.spec`; every other package uses only these
dataclasses, which load from a cache without importing pydantic or yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from algaenv.bundle.value import dataclass, field, replace
from algaenv.model.drift import DriftRule
from algaenv.model.problem import Where
from algaenv.model.resource import Json
from algaenv.model.secret import Secret
from algaenv.model.service import ServiceIntent, with_open_ports

RuntimeChoice = Literal["auto", "docker", "process"]
ImagesChoice = Literal["auto", "pull", "build"]
Port = int | None
"""A fixed port on 127.0.0.1, or None for `auto`: one is chosen once and kept."""


@dataclass(frozen=True, slots=True)
class PullRef:
    """An image by digest, and the repositories that may have it, in the order they are tried.

    `digest` is `sha256:…`; None for a reference the author gave without one (resolved once).
    """

    repositories: tuple[str, ...]
    tag: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class ImagePin:
    """How a lock file pins the image of a service: `pull` it by `digest`, or build it.

    `origin` says how it is built, `digest` what it is made of; see `model.pins.ServicePin`.
    """

    pull: bool
    origin: str
    digest: str


@dataclass(frozen=True, slots=True)
class ProgramPin:
    """The program that a lock file names for a service."""

    engine: str
    version: str


@dataclass(frozen=True, slots=True)
class Profile:
    """How one engine (silo, minio, rustfs, rclone, valkey, postgres, …) is run.

    Templates may hold `{host}`, `{port}`, `{console_port}`, `{data}`, `{user}`, `{password}`,
    `{access_key}`, `{secret_key}`, `{database}`, `{persistence}`, `{etc}` (the directory of
    `files`) and `{home}` (the installation the binary belongs to).
    """

    name: str
    image: PullRef | None
    """None: cannot be pulled, only built or run as a process."""
    recipe: str
    """The build recipe in stacks/images that makes the image here; empty: cannot be built."""
    command: tuple[str, ...]
    """Arguments of the image's entry point."""
    environment: Mapping[str, str]
    files: Mapping[str, str]
    """File name inside `{etc}` → content template, written 0600 for the service's user."""
    ports: Mapping[str, int]
    """Port name (`api`, `console`, `main`) → port inside the container."""
    data: str
    """The directory inside the container that holds the data."""
    uid: int
    """The user that owns `data` inside the container; 0 when the image takes care of it."""
    health: str
    """Path that answers 200 without credentials when alive; empty when there is none."""
    stop_signal: str
    binaries: tuple[str, ...]
    """Names looked for, in order, on this machine (PATH, wheels) for process and build."""
    process: tuple[str, ...]
    """Arguments after the binary when run as a local process."""
    process_environment: Mapping[str, str]
    version: str = ""
    """The major version that a program of this machine must have; empty: any."""


@dataclass(frozen=True, slots=True)
class StoreIntent:
    """The object store. `local` are the profiles to try, in order, where no image is pulled."""

    profile: Profile
    local: tuple[Profile, ...]
    bucket: str
    buckets: tuple[str, ...]
    """All buckets, `bucket` (the one for bundles) first."""
    port: Port
    console_port: Port
    region: str
    access_key: Secret | None
    secret_key: Secret | None


@dataclass(frozen=True, slots=True)
class RedisIntent:
    """Redis or Valkey."""

    profile: Profile
    port: Port
    password: Secret | None
    """None: generated. An empty secret: no password."""
    persistent: bool


@dataclass(frozen=True, slots=True)
class ManagedDatabase:
    """A PostgreSQL that algaenv runs, with its tables and tenants."""

    profile: Profile
    port: Port
    user: str
    database: str
    password: Secret | None


@dataclass(frozen=True, slots=True)
class ExternalDatabase:
    """An existing PostgreSQL, such as Alga's own: its tables are read, never changed."""

    url: Secret


@dataclass(frozen=True, slots=True)
class BundledImage:
    """The runner of this package, in an image made from the installed package itself."""


@dataclass(frozen=True, slots=True)
class NamedImage:
    """Any runner image that honours the contract."""

    ref: PullRef


@dataclass(frozen=True, slots=True)
class ContextImage:
    """A runner built by the engine from a Dockerfile (Alga's own `ee/runner`, say)."""

    context: str
    dockerfile: str
    args: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunnerIntent:
    """The extension runner."""

    image: BundledImage | NamedImage | ContextImage
    port: Port
    environment: Mapping[str, str | Secret]
    """Overrides, laid over what algaenv sets."""
    volumes: tuple[str, ...]
    """Extra mounts, `source:target[:ro]`; a relative source starts at the spec's directory."""
    local_egress: tuple[str, ...] = ()
    """What guests may reach on this machine and in this environment, as `host[:port]`; `*`: all."""


@dataclass(frozen=True, slots=True)
class OtelIntent:
    """The OpenTelemetry collector that gets the spans of calls."""

    endpoint: str
    """Base URL, as seen from this machine."""
    headers: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayUser:
    """A user of the gateway; the gateway fills in the fields that are None."""

    key: str
    type: Literal["internal", "client"]
    name: str | None
    """As people read it."""
    id: str | None
    email: str | None
    client_id: str | None
    client_name: str | None
    permissions: tuple[str, ...] | None
    """Spelled `resource:action`."""
    additional_fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BundledGateway:
    """The gateway of this package, which stands in for the app server's extension surface."""

    port: Port
    users: tuple[GatewayUser, ...]
    """Empty: the two that the gateway knows itself."""
    checks_off: tuple[str, ...]
    """Permissions and other checks that are turned off, by name."""
    rate_limit: Literal["off", "product"]
    faults_fixed: tuple[str, ...]
    """Names of the product's faults that are not reproduced."""
    timeout_ms: int
    """Of one call."""
    clients: tuple[Mapping[str, Json], ...]
    """Fixtures, as the internal API returns them; the gateway fills in missing fields."""
    services: tuple[Mapping[str, Json], ...]


@dataclass(frozen=True, slots=True)
class AppServer:
    """A real app server, at the intent's `app_url`: algaenv runs no gateway."""


@dataclass(frozen=True, slots=True)
class NoGateway:
    """No gateway; something else may listen at `app_url`."""


@dataclass(frozen=True, slots=True)
class TenantIntent:
    """Which tenant the extensions are installed for; both None: the one there is, or the default.

    For a managed database the tenant is created (`name` defaults to the environment's name, the
    id to one derived from it); an external database must already hold it.
    """

    id: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class BuildStep:
    """One command of a build; it runs when what it reads has changed.

    `inputs`, `outputs` and `ignore` are globs relative to the workspace of the build.
    """

    name: str
    command: tuple[str, ...]
    shell: bool
    """A string of the author's is run by `sh -c`; a list is an argument vector."""
    environment: Mapping[str, str]
    timeout: float
    """Seconds."""
    inputs: tuple[str, ...] = ()
    """Files that it reads; empty: all of the workspace, and what earlier steps make."""
    outputs: tuple[str, ...] = ()
    """Files that it makes; empty: unknown, so none is kept beyond the next change."""
    ignore: tuple[str, ...] = ()
    """Files among the inputs that change nothing."""
    where: Where | None = None
    """The place of its inputs in the spec, for warnings."""


@dataclass(frozen=True, slots=True)
class BuildIntent:
    """How an extension is built: steps run in a private copy of `workspace`, one after another."""

    steps: tuple[BuildStep, ...]
    """Empty: the files of the source say how it is built."""
    workspace: str
    """Absolute directory that is copied; the extension's source is inside it."""
    environment: Mapping[str, str]
    """Of the steps that are found in the source."""
    timeout: float
    """Seconds of each of them."""


@dataclass(frozen=True, slots=True)
class EndpointProbe:
    """An endpoint that must answer a GET before its extension is called ready."""

    path: str
    """With leading slash, parameters spelled out, perhaps with a query."""
    where: Where


@dataclass(frozen=True, slots=True)
class ExpectedAnswer:
    """What the answer to a call must have. Headers have lower-case names."""

    status: int | None
    """None: any below 400."""
    json: tuple[Json, ...]
    """The part of the body that must be there; empty: nothing is asked of it."""
    text: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CallCheck:
    """A call of a handler that `test` makes. Headers have lower-case names."""

    name: str
    method: str
    path: str
    user: str | None
    headers: Mapping[str, str]
    body: str | None
    expect: ExpectedAnswer
    where: Where


@dataclass(frozen=True, slots=True)
class PageCheck:
    """A page that `test` loads; `text` is in its HTML unless None."""

    name: str
    portal: str
    user: str | None
    text: str | None
    where: Where


@dataclass(frozen=True, slots=True)
class ScheduleCheck:
    """The schedules of an endpoint, which `test` runs; an empty `method` means any."""

    name: str
    method: str
    path: str
    where: Where


Check = CallCheck | PageCheck | ScheduleCheck


@dataclass(frozen=True, slots=True)
class ExtensionIntent:
    """One extension to install."""

    name: str
    source: str
    """Absolute directory that holds manifest.json."""
    build: BuildIntent | None
    config: Mapping[str, Json]
    secrets: Mapping[str, Secret]
    capabilities: tuple[str, ...] | None
    """Granted; None: what the manifest asks for."""
    enabled: bool
    ui_dev_server: str | None
    """Origin of a development server whose page the gateway shows instead of the bundle's."""
    where: Where
    """The place of `source` in the spec, for problems."""
    probes: tuple[EndpointProbe, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class SqlSeed:
    """A file of SQL statements, applied in one transaction. `name` is its path as written."""

    name: str
    path: str
    """Absolute."""
    file: str
    """As problems name it."""
    where: Where


@dataclass(frozen=True, slots=True)
class ObjectSeed:
    """The files of a directory, as objects whose keys begin with `prefix`."""

    source: str
    """Absolute directory."""
    bucket: str
    prefix: str
    """Empty, or with a slash at its end."""
    where: Where


@dataclass(frozen=True, slots=True)
class RecordSeed:
    """Records in the storage of an extension: namespace → key → value."""

    extension: str
    records: Mapping[str, Mapping[str, Json]]
    where: Where


@dataclass(frozen=True, slots=True)
class SeedIntent:
    """What the environment begins with."""

    sql: tuple[SqlSeed, ...] = ()
    """Applied in this order."""
    objects: tuple[ObjectSeed, ...] = ()
    records: tuple[RecordSeed, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskIntent:
    """A command that `up` runs, once what it needs answers."""

    name: str
    command: tuple[str, ...]
    shell: bool
    """A string of the author's is run by `sh -c`; a list is an argument vector."""
    directory: str
    """Absolute directory that it runs in."""
    environment: Mapping[str, str | Secret]
    """Over the variables of this process, and those that lead to the services."""
    needs: tuple[str, ...]
    """Names of services, extensions and tasks."""
    inputs: tuple[str, ...] | None
    """Globs relative to the directory; None: it runs in every `up`."""
    timeout: float
    """Seconds."""
    where: Where
    """The place of its command in the spec, for problems."""
    active: bool = True
    """False: it belongs to profiles that are not asked for."""


@dataclass(frozen=True, slots=True)
class Intent:
    """All of it."""

    version: int
    name: str
    runtime: RuntimeChoice
    images: ImagesChoice
    store: StoreIntent
    redis: RedisIntent
    database: ManagedDatabase | ExternalDatabase
    runner: RunnerIntent
    gateway: BundledGateway | AppServer | NoGateway
    tenant: TenantIntent
    extensions: tuple[ExtensionIntent, ...]
    keep_versions: int
    """How many bundles older than the current one are kept for a rollback."""
    ready_timeout: float
    """Seconds a service or a page is given to answer."""
    app_url: str
    """Where Alga's app server is (the runner's registry); as seen from this machine."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """`<service>.memory` in bytes and `<service>.pids`, as the author has them; 0: no limit."""
    otel: OtelIntent | None = None
    """None: spans go nowhere."""
    drift_ignore: tuple[DriftRule, ...] = ()
    """Fields that may drift: they are neither reported nor reverted."""
    seed: SeedIntent = SeedIntent()
    image_pins: Mapping[str, ImagePin] = field(default_factory=dict)
    """Service → its image by the lock file."""
    program_pins: Mapping[str, ProgramPin] = field(default_factory=dict)
    """Service → its program by the lock file."""
    inactive: tuple[ExtensionIntent, ...] = ()
    """Extensions of profiles that are not asked for: what is installed of them stays as it is."""
    tasks: tuple[TaskIntent, ...] = ()
    """Each after the tasks that it needs."""
    services: tuple[ServiceIntent, ...] = ()
    """Those of the author's own, each after those that it needs."""

    @property
    def every_extension(self) -> tuple[ExtensionIntent, ...]:
        """All of the spec, whatever the profiles."""
        return (*self.extensions, *self.inactive)


def with_named(intent: Intent, names: Sequence[str]) -> Intent:
    """The same with those extensions active that are named, whatever their profiles."""
    named = tuple(it for it in intent.inactive if it.name in names)
    if not named:
        return intent
    left = tuple(it for it in intent.inactive if it.name not in names)
    return replace(intent, extensions=(*intent.extensions, *named), inactive=left)


def with_free_ports(intent: Intent, name: str) -> Intent:
    """The same under another name, every port of this machine left open."""
    database, gateway = intent.database, intent.gateway
    if isinstance(database, ManagedDatabase):
        database = replace(database, port=None)
    if isinstance(gateway, BundledGateway):
        gateway = replace(gateway, port=None)
    return replace(
        intent,
        name=name,
        store=replace(intent.store, port=None, console_port=None),
        redis=replace(intent.redis, port=None),
        runner=replace(intent.runner, port=None),
        database=database,
        gateway=gateway,
        services=with_open_ports(intent.services),
    )
