"""Questions that a real client of a service would ask, as data. Who waits is reconcile.ready."""

from __future__ import annotations

from algaenv.bundle.value import dataclass
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
    """`GET {base_url}/readyz`: all that the gateway asks answers it. Tables that are not there yet
    count as an answer: they are content, which comes later."""

    base_url: str


@dataclass(frozen=True, slots=True)
class ExtensionProbe:
    """What its users would ask of an extension through the gateway: `page`, then `GET {base}{path}`
    for each of `paths`, which answers below 400 within `seconds`.

    `user` is the key of who asks, empty for whom the gateway takes itself. `page` is None without a
    page.
    """

    page: PageProbe | None
    base: str
    paths: tuple[str, ...]
    user: str
    seconds: float


Probe = (
    PostgresProbe
    | StoreProbe
    | RedisProbe
    | RunnerProbe
    | PageProbe
    | GatewayProbe
    | ExtensionProbe
)


@dataclass(frozen=True, slots=True)
class Yes:
    """It answered as it should."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """It did not, but it may; `last` is what it said, in one line."""

    last: str


@dataclass(frozen=True, slots=True)
class Never:
    """It answered in a way that waiting does not mend (a wrong password, other bytes).

    `detail` is what else it said, a line each.
    """

    last: str
    hint: str = ""
    detail: tuple[str, ...] = ()


ProbeResult = Yes | NotYet | Never
