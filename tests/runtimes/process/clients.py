"""The services' own clients, for a Harness."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import psycopg

from algaenv.model.resource import Present
from algaenv.system.processes import is_alive
from tests.runtimes.process.harness import Harness, quiet, until


def log_in(
    harness: Harness, password: str | None = None, **changes: Any
) -> psycopg.Connection[Any]:
    assert harness.lock
    words = {
        "host": "127.0.0.1",
        "port": harness.lock.ports.database,
        "user": "alga",
        "password": password or harness.lock.credentials.database_password.reveal(),
        "dbname": "algadb",
        **changes,
    }
    return psycopg.connect(**words, autocommit=True, connect_timeout=5)


def answers(harness: Harness) -> bool:
    try:
        log_in(harness).close()
    except psycopg.OperationalError:
        diagnostics = harness.diagnostics("database")
        assert diagnostics is None, diagnostics
        return False
    return True


def redis_client(harness: Harness, password: str | None = None) -> Any:
    import redis

    assert harness.lock
    assert harness.lock.credentials.redis_password
    return redis.Redis(
        port=harness.lock.ports.redis,
        password=password or harness.lock.credentials.redis_password.reveal(),
        decode_responses=True,
    )


def pongs(harness: Harness) -> bool:
    """By hand: the client library asks more of the interpreter than the servers do."""
    assert harness.lock
    assert harness.lock.credentials.redis_password
    password = harness.lock.credentials.redis_password.reveal()
    try:
        with socket.create_connection(("127.0.0.1", harness.lock.ports.redis), 2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answer:
                return [answer.readline(), answer.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except ConnectionError:
        assert harness.diagnostics() is None
        return False


def s3(harness: Harness, secret: str | None = None) -> Any:
    import boto3
    from botocore.config import Config

    assert harness.lock
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{harness.lock.ports.store}",
        aws_access_key_id=harness.lock.credentials.access_key.reveal(),
        aws_secret_access_key=secret or harness.lock.credentials.secret_key.reveal(),
        region_name="r-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
    )


def lists(harness: Harness) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3(harness).list_buckets()
    except (BotoCoreError, ClientError):
        assert harness.diagnostics("store") is None
        return False
    return True


def kill_supervisor(harness: Harness, service: str) -> None:
    """Nothing of it is left afterwards, not even a socket."""
    processes = [harness.supervisor(service), harness.child(service)]
    os.kill(processes[0].pid, signal.SIGKILL)
    until("both are gone", lambda: not any(map(is_alive, processes)))


def start_again(harness: Harness, service: str) -> None:
    (resource,) = [r for r in harness.wanted(service) if r.address.kind == "process"]
    seen = harness.observer.observe([resource])[resource.address]
    assert isinstance(seen, Present)
    assert seen.running is False
    harness.processes.update(resource, seen, quiet)
