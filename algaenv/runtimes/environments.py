"""The variables and settings files of services.

Those of runner and gateway are the same for every runtime, except for addresses and paths. The
gateway takes the place of Alga's app server: values on which runner and app server must agree,
tokens and streams, are copied from the runner's environment. Those of the other services come from
the templates of an engine's profile.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from algaenv.bundle import layout as bundle_ids
from algaenv.bundle.value import dataclass
from algaenv.model.intent import (
    BundledGateway,
    BundledImage,
    ExternalDatabase,
    GatewayUser,
    ManagedDatabase,
    Profile,
)
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, ResolveError
from algaenv.model.resource import Json
from algaenv.model.secret import Secret
from algaenv.plan.app_variables import inbound_token
from algaenv.plan.desired import predicted_ids
from algaenv.runtimes.services import ServiceName, Text, Values

SETTINGS: Final = "settings.json"
GATEWAY_SECRETS: Final = "GATEWAY_SECRETS_FILE"
"""The variable that names the gateway's file of secrets."""
_SHARED: Final = (
    "ALGA_AUTH_KEY",
    "RUNNER_STORAGE_API_TOKEN",
    "RUNNER_SERVICE_TOKEN",
    "RUNNER_INBOUND_TOKEN",
    "RUNNER_DEBUG_REDIS_URL",
    "RUNNER_DEBUG_REDIS_PASSWORD",
    "RUNNER_DEBUG_REDIS_STREAM_PREFIX",
    "ALGAENV_SCRATCH_TENANTS",
)
"""Variables that the app server and the runner have in common."""
SHARED_CODE: Final = "shell-code"
"""Where the runners of one user keep native code of the shell."""
DEFAULT_COMPILE_SECONDS = 60.0
"""Up to this `ready_timeout` the runner's default limit of compile time is enough."""
COMPILE_PROCESSORS = 16
"""Processors that may compile one component at once, for the limit of compile time."""
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}")


def runner_environment(
    lock: Lock,
    *,
    store_url: str,
    redis_host: str,
    redis_port: int,
    app_url: str,
    cache: str,
    shared_code: str,
    host: str,
    port: int,
    own: Iterable[str] = (),
    otel_endpoint: str = "",
) -> Values:
    """The runner's environment, under the names that Alga's own runner reads.

    `store_url` (without a path), the redis address and `app_url` (the gateway, where there is one,
    else the app server) are as the runner sees them;
    `cache` is its bundle cache, `shared_code` the directory of code that all environments share, or
    empty; `host` and `port` are what it listens on; `own` are the environment's services as
    `host:port`, which guests may not ask; `otel_endpoint` is the collector's, as the runner sees
    it, empty without one. The author's overrides are laid over the rest.
    """
    credentials, intent = lock.credentials, lock.intent
    environment: dict[str, Text] = {
        "HOST": host,
        "PORT": str(port),
        "BUNDLE_STORE_BASE": f"{store_url.rstrip('/')}/{intent.store.bucket}",
        "S3_ACCESS_KEY": credentials.access_key,
        "S3_SECRET_KEY": credentials.secret_key,
        "S3_REGION": intent.store.region,
        "REGISTRY_BASE_URL": app_url,
        "STORAGE_API_BASE_URL": app_url,
        "ALGA_AUTH_KEY": credentials.auth_key,
        "RUNNER_STORAGE_API_TOKEN": credentials.service_token,
        # Strict validation asks the registry, which need not run while extensions are written.
        "EXT_STATIC_STRICT_VALIDATION": "false",
        "EXT_CACHE_ROOT": cache,
        "EXT_UI_FRAME_ANCESTORS": _frame_ancestors(lock),
        "RUNNER_DEBUG_REDIS_URL": f"redis://{redis_host}:{redis_port}/0",
        "RUNNER_TRACE_CALLS": "true",
        # Without the variable a runner lets guests connect to any address, as Alga's does.
        "RUNNER_LOCAL_EGRESS": ",".join(intent.runner.local_egress) or "deny",
    }
    if _has_scratch_tenants(lock):
        environment["ALGAENV_SCRATCH_TENANTS"] = "true"
    if intent.ready_timeout > DEFAULT_COMPILE_SECONDS:
        # Else the runner's default limit would end a compilation that the author allows.
        seconds = math.ceil(intent.ready_timeout) * COMPILE_PROCESSORS
        environment["RUNNER_COMPILE_CPU_SECONDS"] = str(seconds)
    if shared_code:
        environment["RUNNER_SHARED_CODE"] = shared_code
    if addresses := ",".join(own):
        environment["RUNNER_OWN_ADDRESSES"] = addresses
    if credentials.redis_password:
        environment["RUNNER_DEBUG_REDIS_PASSWORD"] = credentials.redis_password
    environment["RUNNER_INBOUND_TOKEN"] = inbound_token(lock)
    environment |= _otel_variables(lock, otel_endpoint, "algaenv-runner")
    return environment | dict(intent.runner.environment)


def _otel_variables(lock: Lock, endpoint: str, service: str) -> Mapping[str, Text]:
    """The variables of the OpenTelemetry standard; none without a collector."""
    otel = lock.intent.otel
    if otel is None or not endpoint:
        return {}
    variables: dict[str, Text] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": service,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={quote(lock.environment.name, safe='')}",
    }
    if otel.headers:
        pairs = [f"{name}={quote(it.reveal(), safe='')}" for name, it in otel.headers.items()]
        variables["OTEL_EXPORTER_OTLP_HEADERS"] = Secret(",".join(pairs))
    return variables


def _has_scratch_tenants(lock: Lock) -> bool:
    """Where all that a test touches is the environment's own: nothing it does gets outside."""
    intent = lock.intent
    return (
        isinstance(intent.database, ManagedDatabase)
        and isinstance(intent.gateway, BundledGateway)
        and isinstance(intent.runner.image, BundledImage)
    )


def _frame_ancestors(lock: Lock) -> str:
    """Origins that may frame a UI: app and gateway, as the browser sees them."""
    parts = urlsplit(lock.intent.app_url)
    origins = ["'self'", "http://localhost:3000", "http://127.0.0.1:3000"]
    if parts.scheme and parts.netloc:
        origins.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    if gateway := lock.ports.gateway:
        origins += [f"http://localhost:{gateway}", f"http://127.0.0.1:{gateway}"]
    return " ".join(dict.fromkeys(origins))


def gateway_environment(
    lock: Lock,
    *,
    runner: Values,
    runner_url: str,
    database_url: Secret,
    host: str,
    port: int,
    settings: str,
    otel_endpoint: str = "",
) -> Values:
    """The gateway's environment.

    `runner` is the runner's; `runner_url` and `database_url` are as the gateway sees them; `host`
    and `port` are what it listens on; `settings` is the path of its file, empty without one;
    `otel_endpoint` is the collector's as the gateway sees it, empty without one.
    """
    environment: dict[str, Text] = {
        "HOST": host,
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "RUNNER_BASE_URL": runner_url,
        "TENANT_ID": tenant_id(lock),
    }
    if isinstance(gateway := lock.intent.gateway, BundledGateway):
        environment["EXT_GATEWAY_TIMEOUT_MS"] = str(gateway.timeout_ms)
    if settings:
        environment["GATEWAY_SETTINGS"] = settings
    environment |= _otel_variables(lock, otel_endpoint, "algaenv-gateway")
    return environment | {name: runner[name] for name in _SHARED if name in runner}


def tenant_id(lock: Lock) -> str:
    """The tenant of the gateway: from the spec, from the last run, or the predicted one."""
    return lock.intent.tenant.id or lock.tenant_id or predicted_ids(lock).tenant_id


def database_url(lock: Lock, *, host: str, port: int) -> Secret:
    """Where the rows are; `host` and `port` are those of a managed database."""
    database = lock.intent.database
    if isinstance(database, ExternalDatabase):
        return database.url
    password = quote(lock.credentials.database_password.reveal(), safe="")
    user, name = quote(database.user, safe=""), quote(database.database, safe="")
    return Secret(f"postgresql://{user}:{password}@{host}:{port}/{name}")


def settings_files(lock: Lock) -> Mapping[str, str]:
    """File name → content of the settings file; empty when every setting has its default."""
    gateway = lock.intent.gateway
    if not isinstance(gateway, BundledGateway):
        return {}
    servers = {
        bundle_ids.registry_id(it.publisher, it.manifest.name): it.intent.ui_dev_server
        for it in lock.extensions
        if it.intent.ui_dev_server
    } | dict(lock.dev_servers)
    settings: dict[str, Json] = {
        "users": {user.key: _user(user) for user in gateway.users},
        "checks_off": list(gateway.checks_off),
        "faults_fixed": list(gateway.faults_fixed),
        "clients": [dict(each) for each in gateway.clients],
        "services": [dict(each) for each in gateway.services],
        "extensions": {id_: {"ui_dev_server": url} for id_, url in servers.items()},
    }
    settings = {key: value for key, value in settings.items() if value}
    if gateway.rate_limit != "off":
        settings["rate_limit"] = gateway.rate_limit
    return {SETTINGS: json.dumps(settings, indent=1, ensure_ascii=False) + "\n"} if settings else {}


def _user(user: GatewayUser) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "type": user.type,
        "name": user.name or user.key,
        "id": user.id,
        "email": user.email,
        "client_id": user.client_id,
        "client_name": user.client_name,
        "permissions": None if user.permissions is None else list(user.permissions),
        "additional_fields": dict(user.additional_fields) or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RenderedProfile:
    """A profile with its templates filled; a text that contains a secret is a Secret."""

    command: tuple[str, ...]
    environment: Values
    files: Values


def profile_values(
    lock: Lock,
    service: ServiceName,
    *,
    host: str,
    port: int,
    data: str,
    etc: str,
    console_port: int = 0,
    home: str = "",
) -> Values:
    """The value of every placeholder that a profile's templates may hold.

    `host`, `port` and `console_port` are what the service listens on; `data` and `etc` are
    directories as the service sees them. `{persistence}` is `yes` or `no`. `{password}` is the
    password of the service at hand; of redis it is empty when there is none.
    """
    values: dict[str, Text] = {
        "host": host,
        "port": str(port),
        "console_port": str(console_port),
        "data": data,
        "etc": etc,
        "home": home,
    }
    credentials, intent = lock.credentials, lock.intent
    match service:
        case "store":
            values |= {
                "access_key": credentials.access_key,
                "secret_key": credentials.secret_key,
                "user": credentials.access_key,
                "password": credentials.secret_key,
                "region": intent.store.region,
            }
        case "redis":
            values["password"] = credentials.redis_password or Secret("")
            values["persistence"] = "yes" if intent.redis.persistent else "no"
        case "database" if not isinstance(intent.database, ExternalDatabase):
            values["user"] = intent.database.user
            values["password"] = credentials.database_password
            values["database"] = intent.database.database
    return values


def render_container(profile: Profile, values: Values) -> RenderedProfile:
    """`command`, `environment` and `files` of the profile, filled.

    A file that only the other runtime's command or environment names is not among them.

    Raises ResolveError (`template-unknown`, `template-secret`) with all problems at once.
    """
    others = (*profile.process, *profile.process_environment.values())
    return _render(profile, profile.command, profile.environment, others, values)


def render_process(profile: Profile, values: Values) -> RenderedProfile:
    """`process`, `process_environment` and `files` of the profile, filled; raises likewise."""
    others = (*profile.command, *profile.environment.values())
    return _render(profile, profile.process, profile.process_environment, others, values)


def _render(
    profile: Profile,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    others: Iterable[str],
    values: Values,
) -> RenderedProfile:
    problems: list[Problem] = []

    def filled(template: str, *, quoted: bool = False) -> Text:
        try:
            return fill_template(template, values, quoted=quoted)
        except KeyError as error:
            problems.append(_unknown(profile.name, str(error.args[0]), values))
            return ""

    words = tuple(filled(word) for word in command)
    if any(isinstance(word, Secret) for word in words):
        problems.append(_in_command(profile.name))
    rendered = RenderedProfile(
        command=tuple(word for word in words if isinstance(word, str)),
        environment={name: filled(template) for name, template in environment.items()},
        files={
            name: filled(text, quoted=True)
            for name, text in profile.files.items()
            if _named(name, (*command, *environment.values())) or not _named(name, others)
        },
    )
    if problems:
        raise ResolveError(*dict.fromkeys(problems))
    return rendered


def _named(file: str, templates: Iterable[str]) -> bool:
    return any(f"{{etc}}/{file}" in template for template in templates)


def fill_template(template: str, values: Values, *, quoted: bool = False) -> Text:
    """Replace `{name}` by its value; `{{` and `}}` stand for braces.

    The result is a Secret when a value was. `quoted`: a placeholder directly between double quotes
    is part of a quoted string, so quotes and backslashes of its value are escaped, as configuration
    files of servers require. Raises KeyError for an unknown name.
    """
    secret = False

    def value(match: re.Match[str]) -> str:
        nonlocal secret
        name = match[1]
        if name is None:
            return match[0][0]
        text = values[name]
        if isinstance(text, Secret):
            secret = True
            text = text.reveal()
        before, after = template[: match.start()], template[match.end() :]
        if quoted and before.endswith('"') and after.startswith('"'):
            text = text.replace("\\", "\\\\").replace('"', '\\"')
        return text

    text = _PLACEHOLDER.sub(value, template)
    return Secret(text) if secret else text


def _unknown(profile: str, name: str, values: Values) -> Problem:
    return Problem(
        "template-unknown",
        f"cannot fill {{{name}}} in the profile of engine {profile}",
        f"use one of {', '.join(sorted(values))}, or write {{{{ for a brace",
    )


def _in_command(profile: str) -> Problem:
    return Problem(
        "template-secret",
        f"cannot put a secret into the command line of engine {profile}",
        "hand it over by `environment` or `files`, which other users cannot read",
    )
