"""Everything a runner talks to, on ports in a row."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .redis_server import RedisServer, redis_server
from .stub import Stub, stub

AUTH_KEY = "conformance-key"
FILE_KEY = "conformance-key-of-a-file"
TOKEN = "conformance-token"
SERVICE_TOKEN = "conformance-service-token"
VAULT_TOKEN = "conformance-vault-token"
REDIS_PASSWORD = "p@ss/w:rd %"

_STUBS = ("store", "app", "proxy", "vault", "web")
_REDISES = ("redis", "locked_redis", "frail_redis")
COUNT = len(_STUBS) + len(_REDISES) + 1


@dataclass(frozen=True, slots=True)
class Peers:
    """`store` holds bundles, `app` is the application server, `web` is the rest of the world.

    `locked_redis` wants a password, `frail_redis` is stopped and started by cases. Nobody
    listens on `nowhere`.
    """

    folder: Path
    store: Stub
    app: Stub
    proxy: Stub
    vault: Stub
    web: Stub
    redis: RedisServer
    locked_redis: RedisServer
    frail_redis: RedisServer
    nowhere: str

    @property
    def elsewhere(self) -> str:
        """`web` under another host name than its own."""
        if "127.0.0.1" not in self.web.url:
            pytest.skip("not applicable: the peers have one name only")
        return self.web.url.replace("127.0.0.1", "localhost")

    @property
    def stubs(self) -> tuple[Stub, ...]:
        return (self.store, self.app, self.proxy, self.vault, self.web)


@contextmanager
def started_peers(folder: Path, *, first_port: int, shown: str) -> Iterator[Peers]:
    """Start all; `first_port` 0 takes free ports, `shown` is the host the runner knows them by."""
    ports = [first_port + number if first_port else _free_port() for number in range(COUNT)]
    bind = "127.0.0.1" if shown == "127.0.0.1" else "0.0.0.0"
    write_files(folder)
    with ExitStack() as stack:
        stubs = [
            stack.enter_context(stub(bind, port if first_port else 0, shown))
            for port in ports[: len(_STUBS)]
        ]
        redises = [
            stack.enter_context(
                redis_server(
                    folder / name,
                    port,
                    shown=shown,
                    password=REDIS_PASSWORD if name == "locked_redis" else "",
                )
            )
            for name, port in zip(_REDISES, ports[len(_STUBS) :], strict=False)
        ]
        yield _peers(folder, stubs, redises, nowhere=f"http://{shown}:{ports[-1]}")


def described_peers(folder: Path, *, first_port: int, shown: str) -> Peers:
    """The same on fixed ports, without starting anything: for their addresses."""
    stubs = [Stub(f"http://{shown}:{first_port + number}") for number in range(len(_STUBS))]
    redises = [
        RedisServer(
            folder / name,
            first_port + len(_STUBS) + number,
            shown=shown,
            password=REDIS_PASSWORD if name == "locked_redis" else "",
        )
        for number, name in enumerate(_REDISES)
    ]
    return _peers(folder, stubs, redises, nowhere=f"http://{shown}:{first_port + COUNT - 1}")


def write_files(folder: Path) -> None:
    """What variables name by a path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vault-token").write_text(f" {VAULT_TOKEN}\n")
    (folder / "auth-key").write_text(f" {FILE_KEY}\n")


def _peers(folder: Path, stubs: list[Stub], redises: list[RedisServer], *, nowhere: str) -> Peers:
    store, app, proxy, vault, web = stubs
    redis, locked, frail = redises
    return Peers(folder, store, app, proxy, vault, web, redis, locked, frail, nowhere)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
