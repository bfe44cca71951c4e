"""Settings of the service, read once from the environment variables of the process.

A process's environment cannot change from outside, so reading it once makes no difference to
peers, although Alga's runner reads some variables for every request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from algaenv.runner.components.compiler import CompileLimits
from algaenv.runner.execute.idempotency import IdempotencySettings
from algaenv.runner.host.settings import HostSettings
from algaenv.runner.wasm.guest_limits import MemoryBudget
from algaenv.serving.span_export import ExportSettings
from algaenv.system import processes


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """`url` is the base without trailing slashes; `bucket` its first path segment.

    `bucket` is empty when the base has no path. `prefix` is the rest of the path, a prefix of
    all keys.
    """

    url: str
    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @classmethod
    def of(cls, base: str, *, access_key: str, secret_key: str, region: str) -> StoreLocation:
        """Take an absolute URL apart; query and fragment are dropped."""
        parts = urlsplit(base)
        bucket, _, prefix = parts.path.strip("/").partition("/")
        return cls(
            url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
            endpoint=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            bucket=unquote(bucket),
            prefix=unquote(prefix.strip("/")),
            region=region,
            access_key=access_key,
            secret_key=secret_key,
        )

    @property
    def signed(self) -> bool:
        """Whether requests are signed: both keys are there, and so is a bucket."""
        return bool(self.access_key and self.secret_key and self.bucket)


MAX_DEFAULT_WORKERS = 32
MAX_WORKERS = 256
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """How many workers share the work."""

    workers: int

    @classmethod
    def read(cls, env: Mapping[str, str]) -> WorkerCount:
        """`RUNNER_WORKERS`, 1 to 256; unset or anything else means one for each usable core."""
        text = env.get("RUNNER_WORKERS", "").strip()
        if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_WORKERS)):
            wanted = int(text)
            if 1 <= wanted <= MAX_WORKERS:
                return cls(wanted)
        return cls(min(usable_cores(), MAX_DEFAULT_WORKERS))


def usable_cores() -> int:
    """Cores this process may run on, within the CPU quota of its control group; at least 1.

    A share of a core counts as one.
    """
    cores = processes.usable_cores()
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """The quotas, in cores, of the groups around this process."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            for group in _upwards(_CGROUPS, place):
                with suppress(OSError, ValueError):
                    quota, period = (group / "cpu.max").read_text().split()
                    yield int(quota) / int(period)
        elif "cpu" in controllers.split(","):
            for group in _upwards(_CGROUPS / controllers, place):
                with suppress(OSError, ValueError):
                    quota = (group / "cpu.cfs_quota_us").read_text()
                    if int(quota) > 0:
                        yield int(quota) / int((group / "cpu.cfs_period_us").read_text())


def _upwards(root: Path, place: str) -> Iterator[Path]:
    """A group and all above it; in a container its own group may be the root that it sees."""
    group = Path(root, place.lstrip("/"))
    while group != root and root in group.parents:
        yield group
        group = group.parent
    yield root


DEFAULT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
"""What Alga's runner sends when nothing is configured."""


def content_security_policy(*, override: str | None, frame_ancestors: str | None) -> str:
    """Build the header's value.

    `override` replaces the whole policy, `frame_ancestors` is appended to the default one; blank
    values count as unset. A value no header may carry falls back to the bare default.
    """
    policy = (override or "").strip()
    if not policy:
        ancestors = (frame_ancestors or "").strip()
        policy = f"{DEFAULT_POLICY}; frame-ancestors {ancestors}" if ancestors else DEFAULT_POLICY
    return policy if _is_header_value(policy) else DEFAULT_POLICY


def _is_header_value(text: str) -> bool:
    return all(" " <= character <= "~" or character == "\t" for character in text)


DEFAULT_PREFIX = "ext-debug:"
DEFAULT_MAXLEN = 2000
DEFAULT_EVENT_BYTES = 8192

_MAX_I64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DebugStreamSettings:
    """The Redis of the debug stream, how its keys begin, and how long streams and events get."""

    url: str | None = field(default=None, repr=False)
    """With the password in it; None when there is no stream."""
    prefix: str = DEFAULT_PREFIX
    maxlen: int = DEFAULT_MAXLEN
    """Entries kept of each stream, about."""
    event_bytes: int = DEFAULT_EVENT_BYTES
    """The longest message, in bytes of UTF-8."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> DebugStreamSettings:
        """Read the variables of Alga's runner, `RUNNER_DEBUG_…`.

        `RUNNER_DEBUG_REDIS_PASSWORD` becomes part of the URL unless that has a login already. A
        number that is none, or not above zero, counts as unset; the prefix may be empty.
        """
        url = env.get("RUNNER_DEBUG_REDIS_URL", "").strip()
        return cls(
            url=_with_password(url, env.get("RUNNER_DEBUG_REDIS_PASSWORD", "")) if url else None,
            prefix=env.get("RUNNER_DEBUG_REDIS_STREAM_PREFIX", DEFAULT_PREFIX),
            maxlen=_positive_number(env.get("RUNNER_DEBUG_REDIS_MAXLEN")) or DEFAULT_MAXLEN,
            event_bytes=_positive_number(env.get("RUNNER_DEBUG_MAX_EVENT_BYTES"))
            or DEFAULT_EVENT_BYTES,
        )


def _with_password(url: str, password: str) -> str:
    scheme, mark, rest = url.partition("://")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    if not (password and mark and scheme in {"redis", "rediss"}) or "@" in authority:
        return url
    return f"{scheme}://:{quote(password, safe='')}@{rest}"


def _positive_number(text: str | None) -> int:
    if text is None or len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return 0
    value = int(text)
    return value if value <= _MAX_I64 else 0


DEFAULT_STORE = "http://localhost:9000/alga-ext/"
DEFAULT_KEY_FILE = "/vault/secrets/alga_auth_key"
DEFAULT_CACHE_ROOT = "/tmp/alga-ext-cache"  # noqa: S108 - Alga's runner has it there
DEFAULT_PORT = 8080
DEFAULT_DRAIN_SECONDS = 8
DEFAULT_CONCURRENCY = 16
MAX_CONCURRENCY = 512
DEFAULT_QUEUE = 128
MAX_QUEUE = 100_000

_MAX_PORT = 65_535
_MAX_U64 = 2**64 - 1
_MAX_DIGITS = 20


SECRETS_FILE = "RUNNER_SECRETS_FILE"
SERVICE_NAME = "algaenv-runner"
"""Of its spans, where `OTEL_SERVICE_NAME` is not set."""


class InvalidSettings(Exception):
    """The process cannot run with these variables; the text is one line for its operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the service; see `read` for the variables behind it."""

    host: str
    port: int
    log_level: str
    drain_seconds: int
    """How long requests under way may still take after SIGTERM; `docker stop` allows 10."""
    auth_key: str = field(repr=False)
    inbound_token: str | None = field(repr=False)
    """What callers of handlers have to show as `x-runner-service-token`; None: nothing."""
    allowed_hosts: frozenset[str]
    """Public names under which handlers may be called, in lower case."""
    registry_base: str
    source: StoreLocation
    cache_root: Path
    shared_code: Path | None
    """Where code of the shell is kept for other services of the same user, too."""
    cache_max_bytes: int | None
    cache_max_text: str | None
    """The variable as it was spelled, which `/healthz` repeats."""
    static_max_bytes: int | None
    demands_tenant: bool
    """Pages of no known tenant are refused."""
    asks_registry: bool
    """The registry must confirm that the tenant has the extension's bundle installed."""
    policy: str
    has_store: bool
    """`BUNDLE_STORE_BASE` is set; without it pages come from the default store, and no handler is
    run, as in Alga's runner."""
    traces_calls: bool
    """Answers tell what a call did; see `runner.execute.invoker`."""
    concurrency: int
    """Calls under way at once in one worker."""
    queue: int
    """Calls that wait for one of them to end."""
    host_settings: HostSettings
    stream: DebugStreamSettings
    compiling: CompileLimits
    idempotency: IdempotencySettings
    worker_count: WorkerCount
    budget: MemoryBudget
    """Memory that the guests of one worker may take together."""
    spans: ExportSettings | None
    """Where spans of calls go; None: nowhere."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Settings:
        """Read the variables of Alga's runner, and some of ours.

        `EXT_STATIC_STRICT_VALIDATION` is read in two ways, as Alga does: any of `1`, `true` and
        `yes` demands a tenant, but only `true` (and an unset variable) asks the registry.
        `HOST` (0.0.0.0), `LOG_LEVEL` (info), `RUNNER_DRAIN_SECONDS` (8), `RUNNER_CONCURRENCY` (16),
        `RUNNER_QUEUE` (128), `RUNNER_INBOUND_TOKEN` (none), `RUNNER_ALLOWED_HOSTS` (none) and
        `RUNNER_TRACE_CALLS` (false) and `RUNNER_SHARED_CODE` (none) are ours; the parts have more.
        With `OTEL_EXPORTER_OTLP_ENDPOINT` spans of calls are sent there; see `ExportSettings.read`.
        Raises InvalidSettings with all that is wrong, in the order in which Alga checks it.
        """
        problems: list[str] = []
        auth_key = _auth_key(env, problems)
        registry_base = _registry_base(env, problems)
        source = _source(env, problems)
        spans = None
        try:
            spans = ExportSettings.read(env, SERVICE_NAME)
        except ValueError as error:
            problems.append(str(error))
        if problems or source is None:
            raise InvalidSettings("; ".join(problems))
        worker_count = WorkerCount.read(env)
        strict = env.get("EXT_STATIC_STRICT_VALIDATION")
        max_text = env.get("EXT_CACHE_MAX_BYTES")
        return cls(
            host=env.get("HOST") or "0.0.0.0",  # noqa: S104 - Alga's runner does too
            port=_default_to(_number(env.get("PORT"), at_most=_MAX_PORT), DEFAULT_PORT),
            log_level=(env.get("LOG_LEVEL") or "info").strip().lower(),
            drain_seconds=_default_to(
                _number(env.get("RUNNER_DRAIN_SECONDS"), at_most=86_400), DEFAULT_DRAIN_SECONDS
            ),
            auth_key=auth_key,
            inbound_token=env.get("RUNNER_INBOUND_TOKEN") or None,
            allowed_hosts=_host_names(env.get("RUNNER_ALLOWED_HOSTS", "")),
            registry_base=registry_base,
            source=source,
            cache_root=Path(env.get("EXT_CACHE_ROOT") or DEFAULT_CACHE_ROOT),
            shared_code=_directory(env.get("RUNNER_SHARED_CODE")),
            cache_max_bytes=_number(max_text, at_most=_MAX_U64),
            cache_max_text=max_text,
            static_max_bytes=_number(env.get("EXT_STATIC_MAX_FILE_BYTES"), at_most=_MAX_U64),
            demands_tenant=strict is None or strict.lower() in {"1", "true", "yes"},
            asks_registry=strict is None or strict.strip().lower() == "true",
            policy=content_security_policy(
                override=env.get("EXT_UI_CONTENT_SECURITY_POLICY"),
                frame_ancestors=env.get("EXT_UI_FRAME_ANCESTORS"),
            ),
            has_store=bool(env.get("BUNDLE_STORE_BASE")),
            traces_calls=(env.get("RUNNER_TRACE_CALLS") or "").strip().lower() == "true",
            concurrency=_default_to(
                _number(env.get("RUNNER_CONCURRENCY"), at_most=MAX_CONCURRENCY) or None,
                DEFAULT_CONCURRENCY,
            ),
            queue=_default_to(_number(env.get("RUNNER_QUEUE"), at_most=MAX_QUEUE), DEFAULT_QUEUE),
            host_settings=HostSettings.read(env),
            stream=DebugStreamSettings.read(env),
            compiling=CompileLimits.read(env),
            idempotency=IdempotencySettings.read(env),
            worker_count=worker_count,
            budget=MemoryBudget.read(env, worker_count.workers),
            spans=spans,
        )


def _directory(text: str | None) -> Path | None:
    """An absolute path; anything else counts as unset."""
    return Path(text) if text and text.startswith("/") else None


def read_secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    """The variables in the file that `RUNNER_SECRETS_FILE` names: JSON, name → text.

    They go before those of the process, which others can look at. Raises InvalidSettings.
    """
    name = env.get(SECRETS_FILE)
    if not name:
        return {}
    try:
        found = json.loads(Path(name).read_bytes())
    except (OSError, ValueError) as error:
        # The text of a JSON error may quote a secret, so only the file is named.
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InvalidSettings(f"cannot read {SECRETS_FILE} ({name}): {reason}") from None
    if not isinstance(found, dict) or not all(isinstance(it, str) for it in found.values()):
        raise InvalidSettings(f"cannot read {SECRETS_FILE} ({name}): it is not names with texts")
    return found


def _auth_key(env: Mapping[str, str], problems: list[str]) -> str:
    if key := env.get("ALGA_AUTH_KEY", "").strip():
        return key
    file = Path(env.get("ALGA_AUTH_KEY_FILE") or DEFAULT_KEY_FILE)
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    if not key:
        problems.append(f"ALGA_AUTH_KEY not set, and no key in ALGA_AUTH_KEY_FILE ({file})")
    return key


def _registry_base(env: Mapping[str, str], problems: list[str]) -> str:
    value = env.get("REGISTRY_BASE_URL")
    if value is None:
        problems.append("REGISTRY_BASE_URL not set")
        return ""
    if not is_http_url(value):
        problems.append(f"Invalid REGISTRY_BASE_URL: not an http(s) URL: {without_login(value)!r}")
    return value.strip()


def _source(env: Mapping[str, str], problems: list[str]) -> StoreLocation | None:
    value = env.get("BUNDLE_STORE_BASE", DEFAULT_STORE)
    if not is_http_url(value):
        problems.append(f"Invalid BUNDLE_STORE_BASE: not an http(s) URL: {without_login(value)!r}")
        return None
    return StoreLocation.of(
        value.strip(),
        # An empty value counts as unset, unlike in Alga's runner: compose files pass those on.
        access_key=env.get("S3_ACCESS_KEY") or env.get("MINIO_ACCESS_KEY") or "",
        secret_key=env.get("S3_SECRET_KEY") or env.get("MINIO_SECRET_KEY") or "",
        region=env.get("S3_REGION") or "us-east-1",
    )


def is_http_url(value: str) -> bool:
    """Whether this is an absolute URL with a host that can be asked over HTTP."""
    try:
        parts = urlsplit(value.strip())
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def without_login(url: str) -> str:
    """The URL without its query and without all that may be a password, for people to see."""
    plain = url.partition("?")[0]
    head, at, rest = plain.rpartition("@")
    scheme, slashes, _ = head.partition("//")
    return f"{scheme}{slashes}{rest}" if at and slashes else rest


def _host_names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (name.strip().lower().rstrip(".") for name in text.split(","))))


def _number(text: str | None, *, at_most: int) -> int | None:
    if text is None or len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if value <= at_most else None


def _default_to(value: int | None, default: int) -> int:
    return default if value is None else value
