"""What every runtime says about the gateway: its environment, its file of settings, its users' way.

The gateway stands where Alga's app server would, so what the runner and the app server have to
agree about, tokens and streams, is taken from what the runner is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from algaenv.bundle import ids as bundle_ids
from algaenv.model.intent import BundledGateway, ExternalDatabase, GatewayUser
from algaenv.model.lock import Lock
from algaenv.model.resource import Json
from algaenv.model.secret import Secret
from algaenv.plan.desired import predicted_ids
from algaenv.runtimes.services import Text, Values

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
)
"""Variables that the app server and the runner have in common."""


def gateway_environment(
    lock: Lock,
    *,
    runner: Values,
    runner_url: str,
    database_url: Secret,
    host: str,
    port: int,
    settings: str,
) -> Values:
    """The gateway's environment.

    `runner` is the runner's; `runner_url` and `database_url` are as the gateway sees them; `host`
    and `port` are what it listens on; `settings` is the path of its file, empty without one.
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
    return environment | {name: runner[name] for name in _SHARED if name in runner}


def tenant_id(lock: Lock) -> str:
    """The tenant that the gateway serves: as told, as the last run learned it, or as it will be."""
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
    """The file of settings by its name; none when every setting is as the gateway has it."""
    gateway = lock.intent.gateway
    if not isinstance(gateway, BundledGateway):
        return {}
    servers = {
        bundle_ids.registry_id(it.publisher, it.manifest.name): it.intent.ui_dev_server
        for it in lock.extensions
        if it.intent.ui_dev_server
    } | dict(lock.dev_servers)
    said: dict[str, Json] = {
        "users": {user.key: _user(user) for user in gateway.users},
        "checks_off": list(gateway.checks_off),
        "faults_fixed": list(gateway.faults_fixed),
        "clients": [dict(each) for each in gateway.clients],
        "services": [dict(each) for each in gateway.services],
        "extensions": {id_: {"ui_dev_server": url} for id_, url in servers.items()},
    }
    said = {key: value for key, value in said.items() if value}
    if gateway.rate_limit != "off":
        said["rate_limit"] = gateway.rate_limit
    return {SETTINGS: json.dumps(said, indent=1, ensure_ascii=False) + "\n"} if said else {}


def _user(user: GatewayUser) -> dict[str, Json]:
    said: dict[str, Json] = {
        "type": user.type,
        "name": user.name or user.key,
        "id": user.id,
        "email": user.email,
        "client_id": user.client_id,
        "client_name": user.client_name,
        "permissions": None if user.permissions is None else list(user.permissions),
        "additional_fields": dict(user.additional_fields) or None,
    }
    return {key: value for key, value in said.items() if value is not None}
