"""The gateway's environment variables and settings file, the same for every runtime.

The gateway takes the place of Alga's app server. The values on which runner and app server must
agree, tokens and streams, are taken from the runner's environment.
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
