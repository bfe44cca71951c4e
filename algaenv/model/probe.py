"""Probes as data: requests that a real client of a service would send, and their results."""

from __future__ import annotations

from algaenv.bundle.value import dataclass, field
from algaenv.model.secret import Secret


@dataclass(frozen=True, slots=True)
class PostgresProbe:
    """A login over TCP and `SELECT 1`."""

    host: str
    port: int
    user: str
    password: Secret
    database: str


@dataclass(frozen=True, slots=True)
class StoreProbe:
    """A signed request (list buckets); `endpoint` is an http URL without a path."""

    endpoint: str
    access_key: Secret
    secret_key: Secret
    region: str


@dataclass(frozen=True, slots=True)
class RedisProbe:
    """`PING` with the password, answered by `+PONG`."""

    host: str
    port: int
    password: Secret | None


@dataclass(frozen=True, slots=True)
class RunnerProbe:
    """`GET {base_url}/healthz`: status 200, and a JSON body that says the cache is writable."""

    base_url: str


@dataclass(frozen=True, slots=True)
class PageProbe:
    """`GET url` answers `status`, with a body of this SHA-256 (lower hex) unless that is None."""

    url: str
    status: int
    body_sha256: str | None


@dataclass(frozen=True, slots=True)
class GatewayProbe:
    """`GET {base_url}/readyz`: the services behind the gateway answer. Missing tables are no
    failure: they are content, which comes later."""

    base_url: str


@dataclass(frozen=True, slots=True)
class ExtensionProbe:
    """Requests to an extension through the gateway: `page`, then `GET {base}{path}` for each of
    `paths`, which must answer below 400 within `seconds`.

    `user` is the key of a gateway user, empty for the default. `page` is None without a page.
    """

    page: PageProbe | None
    base: str
    paths: tuple[str, ...]
    user: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PortProbe:
    """A connection to a port, which is not closed at once: whatever listens there is meant."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """`GET url` answers with a status below 400."""

    url: str


Probe = (
    PostgresProbe
    | StoreProbe
    | RedisProbe
    | RunnerProbe
    | PageProbe
    | GatewayProbe
    | ExtensionProbe
    | PortProbe
    | HttpProbe
)


@dataclass(frozen=True, slots=True)
class Yes:
    """The probe succeeded."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The probe failed, and may succeed later; `last` is the answer in one line."""

    last: str


@dataclass(frozen=True, slots=True)
class Never:
    """The probe failed in a way that waiting does not change (a wrong password, other bytes).

    `detail` holds further lines of the answer.
    """

    last: str
    hint: str = ""
    detail: tuple[str, ...] = ()


ProbeResult = Yes | NotYet | Never


@dataclass(frozen=True, slots=True)
class PrewarmRequest:
    """A handler that the runner at `base_url` shall compile and link before its first call."""

    base_url: str
    tenant_id: str
    registry_id: str
    content_hash: str
    bundle: str
    """The address of its bundle, as problems name it."""
    token: str = field(default="", repr=False)
    """The service token of the runner; empty for none."""
    seconds: float = field(default=0.0, compare=False)
    """Timeout; 0: the default."""


@dataclass(frozen=True, slots=True)
class BrokenHandler:
    """The handler can never be called: `reason` in one line, and its causes, outermost first."""

    reason: str
    hint: str
    causes: tuple[str, ...] = ()
