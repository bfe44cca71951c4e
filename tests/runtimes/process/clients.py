"""The services' own clients, for a House."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import psycopg

from algaenv.model.resource import Present
from algaenv.runtimes.process import procfs
from tests.runtimes.process.house import House, quiet, until


def log_in(house: House, password: str | None = None, **changes: Any) -> psycopg.Connection[Any]:
    assert house.lock
    words = {
        "host": "127.0.0.1",
        "port": house.lock.ports.database,
        "user": "alga",
        "password": password or house.lock.credentials.database_password.reveal(),
        "dbname": "algadb",
        **changes,
    }
    return psycopg.connect(**words, autocommit=True, connect_timeout=5)


def answers(house: House) -> bool:
    try:
        log_in(house).close()
    except psycopg.OperationalError:
        diagnostics = house.diagnostics("database")
        assert diagnostics is None, diagnostics
        return False
    return True


def redis_client(house: House, password: str | None = None) -> Any:
    import redis

    assert house.lock
    assert house.lock.credentials.redis_password
    return redis.Redis(
        port=house.lock.ports.redis,
        password=password or house.lock.credentials.redis_password.reveal(),
        decode_responses=True,
    )


def pongs(house: House) -> bool:
    """By hand: the client library asks more of the interpreter than the servers do."""
    assert house.lock
    assert house.lock.credentials.redis_password
    password = house.lock.credentials.redis_password.reveal()
    try:
        with socket.create_connection(("127.0.0.1", house.lock.ports.redis), 2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answer:
                return [answer.readline(), answer.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except ConnectionError:
        assert house.diagnostics() is None
        return False


def s3(house: House, secret: str | None = None) -> Any:
    import boto3
    from botocore.config import Config

    assert house.lock
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{house.lock.ports.store}",
        aws_access_key_id=house.lock.credentials.access_key.reveal(),
        aws_secret_access_key=secret or house.lock.credentials.secret_key.reveal(),
        region_name="r-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
    )


def lists(house: House) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        s3(house).list_buckets()
    except (BotoCoreError, ClientError):
        assert house.diagnostics("store") is None
        return False
    return True


def kill_shim(house: House, service: str) -> None:
    """Nothing of it is left afterwards, not even a socket."""
    processes = [house.shim(service), house.child(service)]
    os.kill(processes[0].pid, signal.SIGKILL)
    until("both are gone", lambda: not any(map(procfs.alive, processes)))


def start_again(house: House, service: str) -> None:
    (resource,) = [r for r in house.wanted(service) if r.address.kind == "process"]
    seen = house.eyes.observe([resource])[resource.address]
    assert isinstance(seen, Present)
    assert seen.running is False
    house.processes.update(resource, seen, quiet)
