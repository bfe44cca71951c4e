"""What every runtime derives from a lock in the same way: probes, ports and secrets of services."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import urlsplit

from algaenv.model.drift import Drift
from algaenv.model.intent import BundledGateway, ExternalDatabase
from algaenv.model.lock import LOOPBACK, Lock
from algaenv.model.probe import (
    GatewayProbe,
    PostgresProbe,
    Probe,
    RedisProbe,
    RunnerProbe,
    StoreProbe,
)
from algaenv.model.secret import Secret, keyed_digest

Text = str | Secret
Values = Mapping[str, Text]
ServiceName = Literal["store", "redis", "database", "runner", "gateway"]


def secret_input(secret: Secret, key: Secret) -> str:
    """A secret as it stands in inputs: `hmac:` and 16 hex digits.

    The key keeps a reader of labels from guessing passwords by their digest.
    """
    return f"hmac:{keyed_digest(secret, key)}"


def flat_inputs(prefix: str, values: Values, key: Secret) -> dict[str, str]:
    """`values` as flat inputs, `<prefix>.<name>` → text, secrets as keyed digests."""
    return {
        f"{prefix}.{name}": secret_input(value, key) if isinstance(value, Secret) else value
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


def file_drift(
    wanted: Mapping[str, bytes], live: Mapping[str, tuple[bytes, float]]
) -> Iterator[Drift]:
    """Generated files that differ; `live` has content and time of change (Unix seconds).

    They may hold secrets, so no content is shown. Files of others beside them are no drift.
    """
    for name, text in sorted(wanted.items()):
        there = live.get(name)
        if there is None:
            yield Drift(f"the file {name} is gone", f"files.{name}", "(as written)", "")
        elif there[0] != text:
            phrase, field = f"the file {name} was edited", f"files.{name}"
            yield Drift(phrase, field, "(as written)", "(other bytes)", instant(there[1]))


def instant(seconds: float) -> str:
    """Unix time as RFC 3339 in UTC, to the second."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def own_ports(lock: Lock) -> frozenset[int]:
    """Ports of this machine used by the environment's services and by the app server."""
    ports = lock.ports
    taken = {ports.store, ports.console, ports.redis, ports.runner, ports.gateway}
    taken.update(ports.services.values())
    if not isinstance(lock.intent.database, ExternalDatabase):
        taken.add(ports.database)
    parts = urlsplit(lock.intent.app_url)
    if parts.hostname in ("localhost", LOOPBACK) and parts.port:
        taken.add(parts.port)
    return frozenset(port for port in taken if port)


def probes(lock: Lock) -> Mapping[ServiceName, Probe]:
    """The readiness probe of each service of the lock, as sent from this machine."""
    credentials, ports, intent = lock.credentials, lock.ports, lock.intent
    found: dict[ServiceName, Probe] = {
        "store": StoreProbe(
            lock.urls.store,
            credentials.access_key,
            credentials.secret_key,
            intent.store.region,
        ),
        "redis": RedisProbe(lock.host, ports.redis, credentials.redis_password),
        "runner": RunnerProbe(lock.urls.runner),
    }
    if not isinstance(intent.database, ExternalDatabase):
        found["database"] = PostgresProbe(
            lock.host,
            ports.database,
            intent.database.user,
            credentials.database_password,
            intent.database.database,
        )
    if isinstance(intent.gateway, BundledGateway):
        found["gateway"] = GatewayProbe(lock.urls.gateway)
    return found
