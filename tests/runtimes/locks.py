"""Locks to lower: a small environment with a name, an id and ports of its own."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from algaenv.model.intent import (
    AppServer,
    BundledGateway,
    BundledImage,
    ContextImage,
    ExternalDatabase,
    ImagesChoice,
    Intent,
    ManagedDatabase,
    NamedImage,
    NoGateway,
    Profile,
    PullRef,
    RedisIntent,
    RunnerIntent,
    RuntimeChoice,
    StoreIntent,
    TenantIntent,
)
from algaenv.model.lock import Credentials, Environment, Lock, Ports
from algaenv.model.secret import Secret

MINIO = Profile(
    name="minio",
    image=PullRef(("registry.invalid/minio",), "1", "sha256:" + "a" * 64),
    recipe="store",
    command=("server", "{data}", "--address", ":9000", "--console-address", ":9001"),
    environment={"MINIO_ROOT_USER": "{access_key}", "MINIO_ROOT_PASSWORD": "{secret_key}"},
    files={},
    ports={"api": 9000, "console": 9001},
    data="/data",
    uid=0,
    health="/minio/health/live",
    stop_signal="SIGTERM",
    binaries=("minio",),
    process=("server", "{data}", "--address", "{host}:{port}"),
    process_environment={
        "MINIO_ROOT_USER": "{access_key}",
        "MINIO_ROOT_PASSWORD": "{secret_key}",
    },
)
VALKEY = Profile(
    name="valkey",
    image=PullRef(("registry.invalid/valkey",), "9", "sha256:" + "b" * 64),
    recipe="redis",
    command=("valkey-server", "{etc}/valkey.conf"),
    environment={},
    files={
        "valkey.conf": 'bind {host}\nport {port}\ndir {data}\nrequirepass "{password}"\n'
        'appendonly {persistence}\nsave ""\n'
    },
    ports={"main": 6379},
    data="/data",
    uid=999,
    health="",
    stop_signal="SIGTERM",
    binaries=("valkey-server", "redis-server"),
    process=("{etc}/valkey.conf",),
    process_environment={},
)
POSTGRES = Profile(
    name="postgres-18",
    image=PullRef(("registry.invalid/postgres",), "18", "sha256:" + "c" * 64),
    recipe="postgres",
    command=("postgres",),
    environment={
        "POSTGRES_USER": "{user}",
        "POSTGRES_PASSWORD": "{password}",
        "POSTGRES_DB": "{database}",
    },
    files={},
    ports={"main": 5432},
    data="/var/lib/postgresql",
    uid=0,
    health="",
    stop_signal="SIGINT",
    binaries=("postgres",),
    process=("-D", "{data}", "-p", "{port}", "-c", "listen_addresses={host}"),
    process_environment={},
)


GATEWAY = BundledGateway(
    port=None,
    users=(),
    checks_off=(),
    rate_limit="off",
    faults_fixed=(),
    timeout_ms=30_000,
    clients=(),
    services=(),
)


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that were free a moment ago, below the ephemeral range."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def make_lock(
    home: Path,
    *,
    name: str = "check",
    runtime: RuntimeChoice = "docker",
    images: ImagesChoice = "build",
    store: Profile = MINIO,
    redis: Profile = VALKEY,
    database: Profile | ExternalDatabase = POSTGRES,
    runner: BundledImage | NamedImage | ContextImage | None = None,
    runner_environment: Mapping[str, str | Secret] | None = None,
    volumes: tuple[str, ...] = (),
    persistent: bool = True,
    redis_password: Secret | None = None,
    app_url: str = "http://localhost:3000",
    limits: Mapping[str, int] | None = None,
    gateway: BundledGateway | AppServer | NoGateway | None = None,
    ports: Ports | None = None,
) -> Lock:
    """A lock whose environment no other test shares."""
    numbers = free_ports(6)
    managed = not isinstance(database, ExternalDatabase)
    intent = Intent(
        version=1,
        name=name,
        runtime=runtime,
        images=images,
        store=StoreIntent(
            store, (store,), "extensions", ("extensions",), None, None, "r-1", *[None] * 2
        ),
        redis=RedisIntent(redis, None, redis_password, persistent),
        database=ManagedDatabase(database, None, "alga", "algadb", None)
        if isinstance(database, Profile)
        else database,
        runner=RunnerIntent(runner or BundledImage(), None, runner_environment or {}, volumes),
        gateway=gateway or NoGateway(),
        tenant=TenantIntent(None, None),
        extensions=(),
        keep_versions=1,
        ready_timeout=60.0,
        limits=limits or {},
        app_url=app_url,
    )
    return Lock(
        environment=Environment(secrets.token_hex(5), name, home / "algaenv.yaml", home),
        intent=intent,
        ports=ports
        or Ports(
            store=numbers[0],
            console=numbers[1],
            redis=numbers[2],
            database=numbers[3] if managed else 0,
            runner=numbers[4],
            gateway=numbers[5] if isinstance(gateway, BundledGateway) else 0,
        ),
        credentials=Credentials(
            access_key=Secret("access-" + secrets.token_hex(4)),
            secret_key=Secret(secrets.token_urlsafe(18)),
            redis_password=redis_password
            if redis_password is not None
            else Secret(secrets.token_urlsafe(18)),
            database_password=Secret(secrets.token_urlsafe(18)),
            auth_key=Secret(secrets.token_hex(8)),
            service_token=Secret(secrets.token_hex(8)),
            fingerprint_key=Secret(secrets.token_hex(16)),
        ),
        extensions=(),
    )
