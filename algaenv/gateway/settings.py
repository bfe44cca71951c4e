"""Settings: `GatewayConfig` from environment variables, `Settings` from a file of JSON.

```json
{"users": {"glinda": {"id": "…", "email": "…", "name": "…", "type": "internal",
                      "client_id": null, "client_name": null,
                      "permissions": ["extension:read"], "additional_fields": {}}},
 "checks_off": ["extension:write"],
 "rate_limit": "off",
 "faults_fixed": ["storage-list-skips"],
 "clients": [{"clientId": "…", "clientName": "…"}],
 "services": [{"serviceId": "…", "serviceName": "…"}],
 "extensions": {"alga.com.hello": {"ui_dev_server": "http://localhost:5173"}}}
```

Every key may be missing. Users of the file replace the two that are there without one; the first
is the one of a request that names none. Clients and services are written as the internal API
answers them. An extension is named by its registry id or its slug.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from algaenv.bundle.layout import canonical_uuid
from algaenv.gateway.quirks import unknown_quirks
from algaenv.gateway.urls import is_http_url, origin_of
from algaenv.gateway.users import User, default_users, stable_id
from algaenv.serving.span_export import ExportSettings

CHECKS = frozenset(
    (
        "extension:read",
        "extension:write",
        "client:read",
        "service:read",
        "client-portal-menu",
        "client-portal-client",
    )
)
"""What `checks_off` may name: permissions, that the client portal shows a menu entry for the
extension, and that a user of the client portal belongs to a client."""

RateLimit = Literal["off", "product"]
"""`product`: 60 calls at once and one more a second, for each extension of a tenant."""

_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
_KEYS = frozenset(
    ("users", "checks_off", "rate_limit", "faults_fixed", "clients", "services", "extensions")
)


class SettingsError(Exception):
    """The file cannot be used; the text is one line with all that is wrong."""


@dataclass(frozen=True, slots=True)
class ExtensionSettings:
    """What is said about one extension."""

    ui_dev_server: str | None = None
    """Origin of a development server whose page is shown instead of the bundle's."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it; without a file these defaults."""

    users: tuple[User, ...] = field(default_factory=default_users)
    checks_off: frozenset[str] = frozenset()
    rate_limit: RateLimit = "off"
    faults_fixed: frozenset[str] = frozenset()
    clients: tuple[Mapping[str, Any], ...] = ()
    services: tuple[Mapping[str, Any], ...] = ()
    extensions: Mapping[str, ExtensionSettings] = field(default_factory=dict)

    def of(self, registry_id: str, slug: str) -> ExtensionSettings:
        """What is said about an extension, by its registry id or its slug."""
        return self.extensions.get(registry_id) or self.extensions.get(slug) or ExtensionSettings()

    @classmethod
    def load(cls, file: Path) -> Settings:
        """Read a file that only its owner may read. Raises SettingsError."""
        try:
            if file.stat().st_mode & _OTHERS_MAY:
                raise SettingsError(f"{file} may be read by others: chmod 600 it")
            content = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the settings in {file}: {error}") from None
        return cls.parse(content)

    @classmethod
    def parse(cls, content: object) -> Settings:
        """Read what the file holds. Raises SettingsError with all that is wrong."""
        errors = _Validator()
        top = errors.mapping("settings", content)
        for name in sorted(top.keys() - _KEYS):
            errors(f"settings: unknown key {name!r}")
        checks = frozenset(errors.strings("checks_off", top.get("checks_off")))
        for name in sorted(checks - CHECKS):
            errors(f"checks_off: unknown check {name!r}")
        fixed = frozenset(errors.strings("faults_fixed", top.get("faults_fixed")))
        for name in unknown_quirks(fixed):
            errors(f"faults_fixed: unknown fault {name!r}")
        limit = top.get("rate_limit", "off")
        if limit not in ("off", "product"):
            errors("rate_limit: neither off nor product")
        read = cls(
            users=_users(top.get("users"), errors),
            checks_off=checks,
            rate_limit="product" if limit == "product" else "off",
            faults_fixed=fixed,
            clients=errors.mappings("clients", top.get("clients")),
            services=errors.mappings("services", top.get("services")),
            extensions=_extensions(top.get("extensions"), errors),
        )
        if errors.all:
            raise SettingsError("; ".join(errors.all))
        return read


class _Validator:
    """Checks the types of values, and collects all errors."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def __call__(self, message: str) -> None:
        self.all.append(message)

    def mapping(self, name: str, value: object) -> dict[str, Any]:
        """An object; empty when missing."""
        if isinstance(value, dict):
            return dict(value)
        self._unless_missing(name, value, "an object")
        return {}

    def mappings(self, name: str, value: object) -> tuple[Mapping[str, Any], ...]:
        """A list of objects; empty when missing."""
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return tuple(value)
        self._unless_missing(name, value, "a list of objects")
        return ()

    def strings(self, name: str, value: object) -> tuple[str, ...]:
        """A list of strings; empty when missing."""
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        self._unless_missing(name, value, "a list of strings")
        return ()

    def text(self, name: str, value: object) -> str | None:
        """A string; None when missing."""
        if isinstance(value, str):
            return value
        self._unless_missing(name, value, "a string")
        return None

    def _unless_missing(self, name: str, value: object, wanted: str) -> None:
        if value is not None:
            self(f"{name}: not {wanted}")


def _users(content: object, errors: _Validator) -> tuple[User, ...]:
    named = errors.mapping("users", content)
    defaults = default_users()
    if not named:
        return defaults
    return tuple(_user(key, value, defaults, errors) for key, value in named.items())


def _user(key: str, content: object, defaults: tuple[User, ...], errors: _Validator) -> User:
    where = f"users.{key}"
    fields = errors.mapping(where, content)
    for name in sorted(fields.keys() - set(User.__slots__) - {"key"}):
        errors(f"{where}: unknown key {name!r}")
    kind = fields.get("type", "internal")
    if kind not in ("internal", "client"):
        errors(f"{where}.type: neither internal nor client")
    like = defaults[1] if kind == "client" else defaults[0]
    given = fields.get("permissions")
    extra = errors.mapping(f"{where}.additional_fields", fields.get("additional_fields"))

    def text(name: str, otherwise: str) -> str:
        return errors.text(f"{where}.{name}", fields.get(name)) or otherwise

    return User(
        key=key,
        id=text("id", stable_id(f"user/{key}")),
        email=text("email", like.email),
        name=text("name", key),
        type=like.type,
        client_id=errors.text(f"{where}.client_id", fields.get("client_id")),
        client_name=errors.text(f"{where}.client_name", fields.get("client_name")),
        permissions=like.permissions
        if given is None
        else frozenset(errors.strings(f"{where}.permissions", given)),
        additional_fields={name: str(value) for name, value in extra.items()},
    )


def _extensions(content: object, errors: _Validator) -> dict[str, ExtensionSettings]:
    found: dict[str, ExtensionSettings] = {}
    for name, value in errors.mapping("extensions", content).items():
        fields = errors.mapping(f"extensions.{name}", value)
        for key in sorted(fields.keys() - {"ui_dev_server"}):
            errors(f"extensions.{name}: unknown key {key!r}")
        server = errors.text(f"extensions.{name}.ui_dev_server", fields.get("ui_dev_server"))
        if server is not None and origin_of(server) is None:
            errors(f"extensions.{name}.ui_dev_server: not an http(s) URL")
        found[name] = ExtensionSettings(server)
    return found


DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 3000
DEFAULT_RUNNER_URL = "http://localhost:8080"
DEFAULT_RUNNER_PUBLIC = "/runner"
DEFAULT_TIMEOUT_MS = 30_000
DEFAULT_STREAM_PREFIX = "ext-debug:"
DEFAULT_TAIL = 200
MAX_TAIL = 2_000

_MAX_PORT = 65_535
_MAX_TIMEOUT_MS = 86_400_000
_MAX_DIGITS = 10


SECRETS_FILE = "GATEWAY_SECRETS_FILE"
SERVICE_NAME = "algaenv-gateway"
"""Of its spans, where `OTEL_SERVICE_NAME` is not set."""


class ConfigError(Exception):
    """The process cannot run with these variables; the text is one line for its operator."""


@dataclass(frozen=True, slots=True)
class DebugStreamConfig:
    """The Redis that runners write the debug stream to, and how the keys of its streams begin."""

    url: str = field(repr=False)
    """With the password in it."""
    prefix: str = DEFAULT_STREAM_PREFIX
    tail: int = DEFAULT_TAIL
    """Entries of the past that come first, at most MAX_TAIL."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Every setting of the process; see `read` for the variables behind it."""

    host: str
    port: int
    log_level: str
    database_url: str = field(repr=False)
    runner_url: str
    """Without a slash at the end."""
    runner_public: str
    """Where browsers find the runner: `RUNNER_PUBLIC_BASE`, else `/runner` of the gateway."""
    allowed_origins: frozenset[str]
    """Other origins that may call through the proxy: `EXT_PROXY_ALLOWED_ORIGINS`, and those of
    the runner and of development servers."""
    storage_token: str = field(repr=False)
    """`RUNNER_STORAGE_API_TOKEN`; empty when unset, as the other two tokens are."""
    service_token: str = field(repr=False)
    """`RUNNER_SERVICE_TOKEN`."""
    inbound_token: str = field(repr=False)
    """`RUNNER_INBOUND_TOKEN`, which the runner wants with every call."""
    config_token: str = field(repr=False)
    """`RUNNER_CONFIG_API_TOKEN`."""
    auth_key: str = field(repr=False)
    """`ALGA_AUTH_KEY`: what a runner shows when it asks for installs."""
    tenant: str
    """Canonical UUID; the tenant of every user."""
    debug_stream: DebugStreamConfig | None
    timeout_ms: int
    """Of one call; `EXT_GATEWAY_TIMEOUT_MS`, 30000 as in the product."""
    settings: Settings = field(repr=False)
    spans: ExportSettings | None = None
    """Where spans of calls go; None: nowhere."""
    scratch_tenants: bool = False
    """Whether tests may make scratch tenants; `ALGAENV_SCRATCH_TENANTS`."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> GatewayConfig:
        """Read the variables. Raises ConfigError with all that is wrong.

        `DATABASE_URL` and `TENANT_ID` must be there; `HOST` (127.0.0.1), `PORT` (3000),
        `LOG_LEVEL` (info), `RUNNER_BASE_URL` (http://localhost:8080) and the rest need not.
        `GATEWAY_SETTINGS` names a file of JSON that only its owner may read. With
        `OTEL_EXPORTER_OTLP_ENDPOINT` spans of calls are sent there; see `ExportSettings.read`.
        """
        errors: list[str] = []
        spans = None
        try:
            spans = ExportSettings.read(env, SERVICE_NAME)
        except ValueError as error:
            errors.append(str(error))
        database = env.get("DATABASE_URL", "").strip()
        if urlsplit(database).scheme not in {"postgresql", "postgres"}:
            errors.append("DATABASE_URL is not set to a postgresql:// URL")
        runner = (env.get("RUNNER_BASE_URL") or DEFAULT_RUNNER_URL).strip().rstrip("/")
        if not is_http_url(runner):
            errors.append("RUNNER_BASE_URL is not an http(s) URL")
        file = env.get("GATEWAY_SETTINGS")
        settings = Settings()
        try:
            settings = Settings.load(Path(file)) if file else settings
        except SettingsError as error:
            errors.append(str(error))
        public = (env.get("RUNNER_PUBLIC_BASE") or DEFAULT_RUNNER_PUBLIC).strip().rstrip("/")
        others = [it.ui_dev_server for it in settings.extensions.values()]
        listed = env.get("EXT_PROXY_ALLOWED_ORIGINS", "").split(",")
        read = cls(
            host=env.get("HOST") or DEFAULT_HOST,
            port=_number(env, "PORT", DEFAULT_PORT, _MAX_PORT, errors),
            log_level=(env.get("LOG_LEVEL") or "info").strip().lower(),
            database_url=database,
            runner_url=runner,
            runner_public=public,
            allowed_origins=frozenset(
                found for it in (runner, public, *others, *listed) if (found := origin_of(it or ""))
            ),
            storage_token=env.get("RUNNER_STORAGE_API_TOKEN", ""),
            service_token=env.get("RUNNER_SERVICE_TOKEN", ""),
            inbound_token=env.get("RUNNER_INBOUND_TOKEN", ""),
            config_token=env.get("RUNNER_CONFIG_API_TOKEN", ""),
            auth_key=env.get("ALGA_AUTH_KEY", "").strip(),
            tenant=_tenant(env.get("TENANT_ID", ""), errors),
            debug_stream=_debug_stream(env, errors),
            timeout_ms=_number(
                env, "EXT_GATEWAY_TIMEOUT_MS", DEFAULT_TIMEOUT_MS, _MAX_TIMEOUT_MS, errors
            )
            or DEFAULT_TIMEOUT_MS,
            settings=settings,
            spans=spans,
            scratch_tenants=env.get("ALGAENV_SCRATCH_TENANTS", "").strip().lower() == "true",
        )
        if errors:
            raise ConfigError("; ".join(errors))
        return read


def read_secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    """What the file of `GATEWAY_SECRETS_FILE` holds, JSON of names and texts; goes before `env`.

    Raises ConfigError.
    """
    path = env.get(SECRETS_FILE, "")
    try:
        held = json.loads(Path(path).read_text("utf-8")) if path else {}
    except OSError as error:
        raise ConfigError(f"{SECRETS_FILE}: cannot read {path}: {error.strerror}") from None
    except ValueError:
        held = None  # The error would quote the content.
    if isinstance(held, dict) and all(isinstance(text, str) for text in held.values()):
        return held
    raise ConfigError(f"{SECRETS_FILE}: {path} is not a JSON object of texts")


def _tenant(value: str, errors: list[str]) -> str:
    try:
        return canonical_uuid(value.strip())
    except ValueError:
        errors.append("TENANT_ID is not set to a UUID")
        return ""


def _debug_stream(env: Mapping[str, str], errors: list[str]) -> DebugStreamConfig | None:
    """As the runner reads it: the password becomes part of a URL that has no login."""
    tail = _number(env, "EXT_DEBUG_SSE_TAIL_COUNT", DEFAULT_TAIL, MAX_TAIL, errors)
    url = env.get("RUNNER_DEBUG_REDIS_URL", "").strip()
    if not url:
        return None
    password = env.get("RUNNER_DEBUG_REDIS_PASSWORD", "")
    scheme, mark, rest = url.partition("://")
    if password and mark and "@" not in rest.partition("/")[0]:
        url = f"{scheme}://:{quote(password, safe='')}@{rest}"
    prefix = env.get("RUNNER_DEBUG_REDIS_STREAM_PREFIX", DEFAULT_STREAM_PREFIX)
    return DebugStreamConfig(url, prefix, tail)


def _number(
    env: Mapping[str, str], name: str, default: int, at_most: int, errors: list[str]
) -> int:
    text = (env.get(name) or "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        errors.append(f"{name} is not a number")
        return default
    if int(text) > at_most:
        errors.append(f"{name} is more than {at_most}")
        return default
    return int(text)
