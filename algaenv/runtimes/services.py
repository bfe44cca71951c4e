"""What every runtime derives from a lock in the same way: values, probes and secrets of services.

A runtime decides where a service listens and where its files are. This module then fills the
templates of the engine's profile, computes the runner's environment, and turns secrets into keyed
digests for fingerprints.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from algaenv.bundle.value import dataclass
from algaenv.model.intent import BundledGateway, ExternalDatabase, Profile
from algaenv.model.lock import Lock
from algaenv.model.probe import (
    GatewayProbe,
    PostgresProbe,
    Probe,
    RedisProbe,
    RunnerProbe,
    StoreProbe,
)
from algaenv.model.problem import Problem, ResolveError
from algaenv.model.secret import Secret
from algaenv.plan.app_variables import inbound_token

Text = str | Secret
Values = Mapping[str, Text]
DEFAULT_COMPILE_SECONDS = 60.0
"""Up to this `ready_timeout` the runner's default limit of compile time is enough."""
COMPILE_PROCESSORS = 16
"""Processors that may compile one component at once, for the limit of compile time."""
ServiceName = Literal["store", "redis", "database", "runner", "gateway"]

LOOPBACK = "127.0.0.1"
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}")


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


def keyed_digest(key: Secret) -> Callable[[Secret], str]:
    """A function that maps a secret to its digest in fingerprints: `hmac:` and 16 hex digits.

    The key keeps a reader of labels from guessing passwords by their digest.
    """

    def digest(secret: Secret) -> str:
        code = hmac.new(key.reveal().encode(), secret.reveal().encode(), hashlib.sha256)
        return f"hmac:{code.hexdigest()[:16]}"

    return digest


def flat_inputs(prefix: str, values: Values, key: Secret) -> dict[str, str]:
    """`values` as flat inputs, `<prefix>.<name>` → text, secrets as keyed digests."""
    digest = keyed_digest(key)
    return {
        f"{prefix}.{name}": digest(value) if isinstance(value, Secret) else value
        for name, value in sorted(values.items())
    }


RUNNER_SECRETS = "RUNNER_SECRETS_FILE"
"""The variable that names the runner's file of secrets."""
SECRETS = "secrets.json"
"""The file with the secret variables, for services of this package."""


def with_secrets_in_file(environment: Values, variable: str, etc: str) -> tuple[Values, Values]:
    """`environment` without its secrets, and the files that hold them instead.

    Other processes of the same user can read an environment, and an engine shows it to everybody
    who may inspect. `variable` gives the service the path of the file in `etc`.
    """
    secrets = {name: it.reveal() for name, it in environment.items() if isinstance(it, Secret)}
    if not secrets:
        return environment, {}
    public = {name: it for name, it in environment.items() if name not in secrets}
    text = json.dumps(secrets, indent=1, sort_keys=True)
    return {**public, variable: f"{etc}/{SECRETS}"}, {SECRETS: Secret(text)}


def reveal_all(values: Values) -> dict[str, str]:
    """The plain texts, to be passed to the service itself only."""
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in values.items()
    }


def runner_environment(
    lock: Lock,
    *,
    store_url: str,
    redis_host: str,
    redis_port: int,
    app_url: str,
    cache: str,
    host: str,
    port: int,
    own: Iterable[str] = (),
) -> Values:
    """The runner's environment, under the names that Alga's own runner reads.

    `store_url` (without a path), the redis address and `app_url` (the gateway, where there is one,
    else the app server) are as the runner sees them;
    `cache` is its bundle cache; `host` and `port` are what it listens on; `own` are the
    environment's services as `host:port`, which guests may not ask. The author's overrides are laid
    over the rest.
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
        # Without the variable a runner lets guests connect to any address, as Alga's does.
        "RUNNER_LOCAL_EGRESS": ",".join(intent.runner.local_egress) or "deny",
    }
    if intent.ready_timeout > DEFAULT_COMPILE_SECONDS:
        # Else the runner's default limit would end a compilation that the author allows.
        seconds = math.ceil(intent.ready_timeout) * COMPILE_PROCESSORS
        environment["RUNNER_COMPILE_CPU_SECONDS"] = str(seconds)
    if addresses := ",".join(own):
        environment["RUNNER_OWN_ADDRESSES"] = addresses
    if credentials.redis_password:
        environment["RUNNER_DEBUG_REDIS_PASSWORD"] = credentials.redis_password
    environment["RUNNER_INBOUND_TOKEN"] = inbound_token(lock)
    return environment | dict(intent.runner.environment)


def own_ports(lock: Lock) -> frozenset[int]:
    """Ports of this machine used by the environment's services and by the app server."""
    ports = lock.ports
    taken = {ports.store, ports.console, ports.redis, ports.runner, ports.gateway}
    if not isinstance(lock.intent.database, ExternalDatabase):
        taken.add(ports.database)
    parts = urlsplit(lock.intent.app_url)
    if parts.hostname in ("localhost", LOOPBACK) and parts.port:
        taken.add(parts.port)
    return frozenset(port for port in taken if port)


def _frame_ancestors(lock: Lock) -> str:
    """Origins that may frame a UI: app and gateway, as the browser sees them."""
    parts = urlsplit(lock.intent.app_url)
    origins = ["'self'", "http://localhost:3000", "http://127.0.0.1:3000"]
    if parts.scheme and parts.netloc:
        origins.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    if gateway := lock.ports.gateway:
        origins += [f"http://localhost:{gateway}", f"http://127.0.0.1:{gateway}"]
    return " ".join(dict.fromkeys(origins))


def probes(lock: Lock) -> Mapping[ServiceName, Probe]:
    """The readiness probe of each service of the lock, as sent from this machine."""
    credentials, ports, intent = lock.credentials, lock.ports, lock.intent
    found: dict[ServiceName, Probe] = {
        "store": StoreProbe(
            f"http://{LOOPBACK}:{ports.store}",
            credentials.access_key,
            credentials.secret_key,
            intent.store.region,
        ),
        "redis": RedisProbe(LOOPBACK, ports.redis, credentials.redis_password),
        "runner": RunnerProbe(f"http://{LOOPBACK}:{ports.runner}"),
    }
    if not isinstance(intent.database, ExternalDatabase):
        found["database"] = PostgresProbe(
            LOOPBACK,
            ports.database,
            intent.database.user,
            credentials.database_password,
            intent.database.database,
        )
    if isinstance(intent.gateway, BundledGateway):
        found["gateway"] = GatewayProbe(f"http://{LOOPBACK}:{ports.gateway}")
    return found
