"""The environment variables by which Alga's app server finds an environment."""

from __future__ import annotations

from collections.abc import Mapping

from algaenv.model.intent import ManagedDatabase
from algaenv.model.lock import Lock
from algaenv.model.secret import Secret
from algaenv.model.service import service_variables


def app_variables(lock: Lock, tenant_id: str) -> Mapping[str, str | Secret]:
    """Variables the app server and its scripts really read, for this environment.

    `S3_*` and `DEV_TENANT_ID` are for the product's `dev-install-extension.mjs`.
    Both runner addresses are given: the product's UI proxy asks `RUNNER_DOCKER_HOST` when its
    backend is `docker`, while its direct gateway and its schedules ask `RUNNER_BASE_URL`.
    `SERVICE_…` lead to services of the author's own.
    """
    runner = lock.urls.runner
    store = lock.intent.store
    redis_password = lock.credentials.redis_password or Secret("")
    variables: dict[str, str | Secret] = {
        "EDITION": "ee",
        "NEXT_PUBLIC_EDITION": "enterprise",
        "RUNNER_BACKEND": "docker",
        "RUNNER_BASE_URL": runner,
        "RUNNER_DOCKER_HOST": runner,
        "RUNNER_PUBLIC_BASE": runner,
        "RUNNER_STORAGE_API_TOKEN": lock.credentials.service_token,
        "RUNNER_SERVICE_TOKEN": inbound_token(lock),
        "ALGA_AUTH_KEY": lock.credentials.auth_key,
        "STORAGE_S3_ENDPOINT": lock.urls.store,
        "STORAGE_S3_REGION": store.region,
        "STORAGE_S3_BUCKET": store.bucket,
        "STORAGE_S3_BUNDLE_BUCKET": store.bucket,
        "STORAGE_S3_ACCESS_KEY": lock.credentials.access_key,
        "STORAGE_S3_SECRET_KEY": lock.credentials.secret_key,
        "STORAGE_S3_FORCE_PATH_STYLE": "true",
        "REDIS_HOST": lock.host,
        "REDIS_PORT": str(lock.ports.redis),
        "REDIS_PASSWORD": redis_password,
        "DEBUG_STREAM_REDIS_URL": f"{lock.urls.redis}/0",
        "DEBUG_STREAM_REDIS_PASSWORD": redis_password,
        "RUNNER_DEBUG_REDIS_STREAM_PREFIX": "ext-debug:",
        "S3_ENDPOINT": lock.urls.store,
        "S3_REGION": store.region,
        "S3_BUCKET": store.bucket,
        "S3_ACCESS_KEY": lock.credentials.access_key,
        "S3_SECRET_KEY": lock.credentials.secret_key,
        "DEV_TENANT_ID": tenant_id,
    }
    database = lock.intent.database
    if isinstance(database, ManagedDatabase):
        variables |= {
            "DB_HOST": lock.host,
            "DB_PORT": str(lock.ports.database),
            "DB_NAME_SERVER": database.database,
            "DB_USER_ADMIN": database.user,
            "DB_PASSWORD_ADMIN": lock.credentials.database_password,
        }
    return variables | dict(service_variables(lock.intent.services, lock.host, lock.ports.services))


def inbound_token(lock: Lock) -> str | Secret:
    """The `x-runner-service-token` that the runner accepts; empty when the author turned the check
    off."""
    written, ours = lock.intent.runner.environment, lock.credentials.service_token
    return written.get("RUNNER_INBOUND_TOKEN", written.get("RUNNER_SERVICE_TOKEN", ours))
