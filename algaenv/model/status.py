"""The status of an environment: services, extensions, addresses."""

from __future__ import annotations

from collections.abc import Mapping

from algaenv.bundle.value import dataclass, field
from algaenv.model.lock import Environment
from algaenv.model.secret import Secret


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service. `state` is ready, running (does not answer yet), stopped, or absent.

    `endpoints` maps a name (`api`, `console`, `url`) to an address on this machine.
    `detail` is one phrase: the last answer of its probe, or an exit code. `engine` is what runs
    it, with its version (`postgres-18 18.6`); empty when unknown.
    """

    name: str
    state: str
    endpoints: Mapping[str, str]
    detail: str = ""
    engine: str = ""


@dataclass(frozen=True, slots=True)
class ExtensionStatus:
    """One extension according to its rows, and whether it answers.

    `page_url` is None without a UI. `endpoints` are (method, path) pairs; `call_url` is the
    address at the gateway that runs its handlers directly, a prefix of each path.
    """

    name: str
    registry_id: str
    install_id: str
    version: str
    content_hash: str
    page_url: str | None
    call_url: str
    endpoints: tuple[tuple[str, str], ...]
    ready: bool
    detail: str = ""
    portal_urls: Mapping[str, str] = field(default_factory=dict)
    """The page as the portals `msp` and `client` show it; empty without a gateway of ours."""


@dataclass(frozen=True, slots=True)
class ExtensionEndpoint:
    """Where an extension is called: the gateway's URL without a trailing slash, and the gateway's
    name of the extension."""

    gateway: str
    extension: str
    installed: bool = True
    """False: only the gateway knows whether the extension exists."""
    names: tuple[str, ...] = ()
    """The extensions of the spec, for a hint."""
    declared: tuple[tuple[str, str], ...] = ()
    """(method, path) of its manifest's endpoints; empty unless `installed`."""
    seconds: float = 60.0
    """Timeout of a call, in seconds."""
    version: str = ""
    """Of its manifest; empty unless `installed`, as is the next."""
    content_hash: str = ""
    """Of its bundle, `sha256:…`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request to the gateway."""


@dataclass(frozen=True, slots=True)
class EnvironmentSummary:
    """One environment of this machine, as `ps` lists it.

    `state` is up, partly up, down, or unknown where its engine does not answer; `detail` says more
    in one phrase. `running` of `services` run. `since` is when it was made, UTC in ISO 8601.
    """

    environment: Environment
    runtime: str
    state: str
    services: int
    running: int
    since: str
    size: int
    """Bytes on this machine: its state directory, and its volumes as far as the engine tells."""
    ports: Mapping[str, int]
    detail: str = ""
    expires: str = ""
    """When it is taken down, UTC in ISO 8601; empty for no such time."""
    owner_pid: int = 0
    """The process that it is taken down after; 0 for none."""
    expired: bool = False
    """True: the time is over, or that process gone, and it has not been taken down yet."""


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """The gateway of an environment: its URL without a trailing slash, and its extensions."""

    url: str
    extensions: Mapping[str, str]
    """Registry id → name in the spec."""


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status. `variables` are what Alga's app server needs to find this environment."""

    environment: Environment
    runtime: str
    services: tuple[ServiceStatus, ...]
    extensions: tuple[ExtensionStatus, ...]
    tenant_id: str = ""
    variables: Mapping[str, str | Secret] | None = None
    app_server: str = ""
    """URL of the app server that has to have the variables; empty when the spec names none."""
